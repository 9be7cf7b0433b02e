"""Checkpoints that are whole or not there, and resume from the newest whole one: rows 5 to 8."""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
from pathlib import Path

import fault_runs as runs
import pytest
import shipped_leaves as shipped
import torch

from semaim_mm.errors import InputError
from semaim_mm.interop.checkpoint_file import read_file
from semaim_mm.interop.digest import DigestWriter, check_digest, has_digest
from semaim_mm.runtime.launch import load_config, set_resume
from semaim_mm.runtime.reliable import runner as saving
from semaim_mm.runtime.reliable.newest import newest_checkpoint
from semaim_mm.runtime.reliable.save import save_atomically

LEAF = shipped.PRETRAIN


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    root = tmp_path_factory.mktemp("saving")
    shipped.pretraining(root)
    return root


@pytest.fixture(scope="module")
def whole(data):
    """The work dir of an undisturbed run."""
    ended = runs.train(LEAF, shipped.pretraining(data), data / "whole")
    assert ended.code == 0, ended.out[-3000:]
    return data / "whole"


@pytest.fixture
def run_dir(whole, tmp_path):
    """A copy of that work dir's checkpoints, to spoil."""
    for path in (*whole.glob("*.pth"), whole / "last_checkpoint", whole / "steps.jsonl"):
        shutil.copy(path, tmp_path)
    return tmp_path


def kill_saves_at_many_offsets(runner) -> None:
    """From the second save on: forks that die at byte offsets of it; verdicts in a file."""
    original, saves = saving.save_atomically, []

    def spoiled(checkpoint, path) -> None:
        saves.append(path)
        if len(saves) == 2:
            size = os.path.getsize(saves[0])
            offsets = [0, 1, 100, *(size * n // 20 for n in range(1, 20)), size - 90, size - 10]
            verdicts = [one_killed_save(checkpoint, path, offset) for offset in offsets]
            verdicts += [one_killed_save(checkpoint, path, step) for step in ("fsync", "replace")]
            # and over the file of an earlier save: save_best writes the same name again
            verdicts += [one_killed_save(checkpoint, saves[0], size // 2)]
            Path(runner.work_dir, "verdicts.json").write_text(json.dumps(verdicts))
        original(checkpoint, path)

    def one_killed_save(checkpoint, path, where) -> dict:
        child = os.fork()
        if child == 0:
            die_at(where)
            original(checkpoint, path)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        names = sorted(p.name for p in Path(runner.work_dir).glob("*.pth"))
        readable = [name for name in names if read_file(Path(runner.work_dir, name))]
        newest = newest_checkpoint(runner.work_dir)
        return dict(
            where=where,
            killed=os.WIFSIGNALED(status),
            names=names,
            readable=readable,
            newest=Path(newest).name,
        )

    saving.save_atomically = spoiled


def die_at(where: int | str) -> None:
    """Let this process be killed at a byte of a checkpoint, or before a system call."""

    def die(*args) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    if isinstance(where, str):
        setattr(os, where, die)
        return
    put = DigestWriter._put

    def cut(self, content: bytes) -> None:
        left = where - self.written
        if left > len(content):
            put(self, content)
            return
        self.file.write(content[: max(0, left)])
        self.file.flush()
        die()

    DigestWriter._put = cut


@pytest.mark.slow
def test_a_save_killed_at_any_byte_leaves_the_checkpoint_before_it(data, whole, tmp_path):
    ended = runs.train(LEAF, shipped.pretraining(data), tmp_path, kill_saves_at_many_offsets)
    assert ended.code == 0, ended.out[-3000:]
    verdicts = json.loads((tmp_path / "verdicts.json").read_text())
    assert len(verdicts) == 27
    for verdict in verdicts:
        assert verdict["killed"], verdict
        assert verdict["names"] == verdict["readable"] == ["epoch_1.pth"], verdict
        assert verdict["newest"] == "epoch_1.pth", verdict
    runs.assert_same_end(tmp_path, whole)
    assert list(tmp_path.glob(".*.part")) != [], "the killed ones did begin to write"
    assert runs.train(LEAF, shipped.pretraining(data), tmp_path).code == 0
    assert list(tmp_path.glob(".*.part")) == [], "the next run removes them"


def limited(runner) -> None:
    """No file may grow past 300 kB: what a quota does, as EFBIG."""
    hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
    resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, hard))


FULL_IN_EPOCH_2 = runs.at("before_train_epoch", lambda runner: runner.epoch == 1, limited)


@pytest.mark.slow
def test_a_full_disk_keeps_the_old_checkpoint_and_says_what_is_needed(data, whole, tmp_path):
    options = shipped.pretraining(data) | {"default_hooks.checkpoint.max_keep_ckpts": 1}
    ended = runs.train(LEAF, options, tmp_path, FULL_IN_EPOCH_2)
    assert ended.code == 2, ended.out[-3000:]
    size = os.path.getsize(tmp_path / "epoch_1.pth")
    told = next(line for line in ended.out.splitlines() if line.startswith("error: "))
    assert f"{tmp_path / 'epoch_2.pth'} could not be written (File too large)" in told
    needed = float(told.split("it needs about ")[1].split(" MB")[0])
    assert 0.7 * size < needed * 1e6 < 1.1 * size
    assert "MB are free" in told and "Traceback" not in ended.out
    assert [path.name for path in tmp_path.glob("*.pth")] == ["epoch_1.pth"]
    assert not list(tmp_path.glob(".*.part"))
    ended = runs.train(LEAF, options, tmp_path)
    assert ended.code == 0, ended.out[-3000:]
    runs.assert_same_end(tmp_path, whole)
    assert [path.name for path in tmp_path.glob("*.pth")] == ["epoch_3.pth"]


@pytest.mark.slow
def test_a_full_disk_of_the_first_rank_stops_all(data, tmp_path):
    options = shipped.pretraining(data) | {"precision": "fp32"}
    ended = runs.train_ranks(LEAF, options, tmp_path, [FULL_IN_EPOCH_2, None])
    assert [one.code for one in ended] == [2, 2], ended[1].out[-3000:]
    for one in ended:
        assert "could not be written (File too large)" in one.out
    assert Path(newest_checkpoint(tmp_path)).name == "epoch_1.pth"


def cut(path: Path, share: float) -> None:
    os.truncate(path, int(path.stat().st_size * share))


def flip(path: Path, share: float) -> None:
    with path.open("r+b") as file:
        file.seek(int((path.stat().st_size - 1) * share))
        byte = file.read(1)
        file.seek(-1, 1)
        file.write(bytes([byte[0] ^ 0x10]))


SPOILT = [(cut, share) for share in (0, 0.001, 0.3, 0.9, 0.9999)]
SPOILT += [(flip, share) for share in (0.02, 0.25, 0.5, 0.75, 0.97, 0.9999)]


@pytest.mark.parametrize(("spoil", "share"), SPOILT)
def test_a_spoilt_checkpoint_is_passed_over_for_the_one_before_it(spoil, share, run_dir, capsys):
    spoil(run_dir / "epoch_3.pth", share)
    assert newest_checkpoint(run_dir) == str(run_dir / "epoch_2.pth")
    told = capsys.readouterr()
    assert f"{run_dir / 'epoch_3.pth'} is passed over" in told.out + told.err
    with pytest.raises(InputError, match="epoch_3.pth is (damaged|not a readable)"):
        read_file(run_dir / "epoch_3.pth")


@pytest.mark.slow
def test_a_run_goes_on_from_the_one_before_a_spoilt_checkpoint(data, whole, run_dir):
    flip(run_dir / "epoch_3.pth", 0.5)
    cut(run_dir / "epoch_2.pth", 0.5)
    ended = runs.train(LEAF, shipped.pretraining(data), run_dir)
    assert ended.code == 0, ended.out[-3000:]
    for name in ("epoch_2.pth", "epoch_3.pth"):
        assert f"{run_dir / name} is passed over" in ended.out
    assert "resumed epoch: 1, iter: 8" in ended.out
    runs.assert_same_end(run_dir, whole)


def test_a_spoilt_checkpoint_that_is_named_is_refused(data, run_dir):
    flip(run_dir / "epoch_2.pth", 0.5)
    resume = str(run_dir / "epoch_2.pth")
    ended = runs.train(LEAF, shipped.pretraining(data), run_dir, resume=resume)
    assert ended.code == 2
    assert f"error: {resume} is damaged" in ended.out


POINTERS = ["", "\n", "/etc/passwd", "epoch_1.pth", "absent.pth", "\x00\xff\x1b[2J", "x" * 9000]


@pytest.mark.parametrize("pointer", [*POINTERS, "outside", None, "a folder"])
def test_last_checkpoint_is_never_trusted(pointer, run_dir, tmp_path_factory):
    file = run_dir / "last_checkpoint"
    file.unlink()
    if pointer == "outside":
        elsewhere = tmp_path_factory.mktemp("outside") / "epoch_9.pth"
        content = runs.content(run_dir / "epoch_3.pth")
        content["meta"]["saved_at"] += 1000
        save_atomically(content, elsewhere)
        file.write_text(str(elsewhere))
        (run_dir / "epoch_9.pth").symlink_to(elsewhere)
    elif pointer == "a folder":
        file.mkdir()
    elif pointer is not None:
        file.write_bytes(pointer.encode("latin-1"))
    assert newest_checkpoint(run_dir) == str(run_dir / "epoch_3.pth")
    cfg = load_config(LEAF, {}, str(run_dir))
    set_resume(cfg, "newest")
    assert cfg.load_from == str(run_dir / "epoch_3.pth")


def test_newest_is_what_was_written_last_and_can_be_resumed(run_dir):
    os.utime(run_dir / "epoch_1.pth")  # as a copy does
    best = runs.content(run_dir / "epoch_3.pth")
    best["meta"]["saved_at"] += 1000
    del best["optimizer"]
    save_atomically(best, run_dir / "best_loss_epoch_3.pth")
    assert newest_checkpoint(run_dir) == str(run_dir / "epoch_3.pth")
    again = runs.content(run_dir / "epoch_1.pth")
    again["meta"]["saved_at"] = best["meta"]["saved_at"]  # a run that was started anew
    save_atomically(again, run_dir / "epoch_1.pth")
    assert newest_checkpoint(run_dir) == str(run_dir / "epoch_1.pth")


def test_a_folder_without_checkpoints_has_none(tmp_path):
    assert newest_checkpoint(tmp_path) is None
    assert newest_checkpoint(tmp_path / "absent") is None


def test_a_checkpoint_with_a_digest_is_read_by_torch_and_zip_alike(tmp_path):
    content = dict(weights=torch.randn(1000), half=torch.randn(7).half(), note="x")
    save_atomically(content, tmp_path / "a.pth")
    torch.save(content, tmp_path / "b.pth")
    assert has_digest(tmp_path / "a.pth") and not has_digest(tmp_path / "b.pth")
    runs.assert_equal(torch.load(tmp_path / "a.pth", weights_only=True), content, "content")
    runs.assert_equal(read_file(tmp_path / "a.pth"), content, "content")
    check_digest(tmp_path / "b.pth")  # states none, so there is nothing to contradict
    runs.assert_equal(read_file(tmp_path / "b.pth"), content, "content")


def test_a_checkpoint_without_a_digest_is_held_against_its_crcs(run_dir):
    content = runs.content(run_dir / "epoch_3.pth")
    torch.save(content, run_dir / "epoch_3.pth")
    assert newest_checkpoint(run_dir) == str(run_dir / "epoch_3.pth")
    flip(run_dir / "epoch_3.pth", 0.5)
    assert newest_checkpoint(run_dir) == str(run_dir / "epoch_2.pth")
