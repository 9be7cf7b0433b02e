"""A rank that dies or hangs ends the run on every rank, with a sentence: rows 10 and 11."""

from __future__ import annotations

import copy
import json
import os
import socket
import subprocess
import textwrap
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import fault_runs as runs
import pytest
import shipped_leaves as shipped
import torch

from semaim_mm.errors import InputError
from semaim_mm.runtime.reliable.hang import EXIT_CODE, Beat, HangHook, Watch, behind
from semaim_mm.runtime.reliable.lost import is_of_a_lost_rank

ROOT = Path(__file__).resolve().parents[2]
BOUND = 60  # seconds in which all ranks have ended after one has died, as docs/reliability.md says


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return tmp_path_factory.mktemp("lost")


def options(place) -> dict:
    return shipped.pretraining(place) | {"precision": "fp32"}


@pytest.fixture(scope="module")
def whole(place):
    ended = runs.train_ranks(shipped.PRETRAIN, options(place), place / "whole", [None, None])
    assert [one.code for one in ended] == [0, 0], ended[0].out[-3000:]
    return place / "whole"


@pytest.mark.slow
@pytest.mark.parametrize("dies", [0, 1])
def test_a_rank_that_is_killed_ends_the_other_within_the_bound(dies, place, tmp_path):
    faults = [None, None]
    faults[dies] = runs.at_iteration(5, runs.killed)
    begun = time.monotonic()
    ended = runs.train_ranks(shipped.PRETRAIN, options(place), tmp_path, faults)
    assert time.monotonic() - begun < BOUND
    assert ended[dies].code == -9
    other = ended[1 - dies]
    assert other.code == EXIT_CODE == 76, other.out[-3000:]
    assert f"error: rank {1 - dies} lost another rank of 2 at iteration 6" in other.out
    assert "Traceback" not in other.out
    assert (tmp_path / "epoch_1.pth").is_file()


HOOK = """
    import os, signal
    from pathlib import Path
    from mmengine.hooks import Hook
    from mmengine.registry import HOOKS

    @HOOKS.register_module()
    class DieOnce(Hook):
        def before_train_iter(self, runner, batch_idx, data_batch=None):
            once = Path(runner.work_dir, "died")
            if runner.rank == 1 and runner.iter == 7 and not once.exists():
                once.touch()
                os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.slow
def test_torchrun_starts_all_again_and_the_run_ends_as_an_undisturbed_one(place, whole, tmp_path):
    (tmp_path / "die_once.py").write_text(textwrap.dedent(HOOK))
    leaf = tmp_path / "leaf.py"
    leaf.write_text(
        f'_base_ = "{ROOT / shipped.PRETRAIN}"\n'
        'custom_imports = dict(imports=["semaim_mm", "die_once"], allow_failed_imports=False)\n'
        'default_hooks = dict(die=dict(type="DieOnce"))\n'
        "model = dict(ema=dict())\n"  # a dict without keys can't be given on the command line
    )
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    paths = os.pathsep.join([str(ROOT), str(tmp_path)])
    environment = os.environ | dict(
        MAX_RESTARTS="1", PORT=str(port), OMP_NUM_THREADS="1", PYTHONPATH=paths
    )
    command = [ROOT / "tools/dist_train.sh", leaf, "2", "--work-dir", tmp_path / "run"]
    command += ["--resume", "auto", "--cfg-options"]
    given = {k: v for k, v in options(place).items() if k != "model.ema"}
    command += [f"{key}={value}" for key, value in given.items()]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-4000:]
    assert (tmp_path / "run/died").exists()
    assert "resumed epoch: 1, iter: 4" in done.stdout + done.stderr
    one, other = runs.newest(tmp_path / "run"), runs.newest(whole)
    for part in ("state_dict", "optimizer", "param_schedulers"):
        runs.assert_equal(one[part], other[part], part)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [([], "give --resume auto too"), (["--resume"], "give --resume auto too")],
)
def test_restarts_without_a_resume_are_refused(arguments, told):
    command = [ROOT / "tools/dist_train.sh", shipped.PRETRAIN, "2", *arguments]
    environment = os.environ | dict(MAX_RESTARTS="1")
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2 and told in done.stderr


def sleeping(runner) -> None:
    time.sleep(runs.LIMIT)


@pytest.mark.slow
@pytest.mark.parametrize("hangs", [0, 1])
def test_a_rank_that_hangs_is_named_with_its_step(hangs, place, tmp_path):
    given = options(place) | {"default_hooks.hang.seconds": 8}
    faults = [None, None]
    faults[hangs] = runs.at_iteration(5, sleeping)
    begun = time.monotonic()
    ended = runs.train_ranks(shipped.PRETRAIN, given, tmp_path, faults)
    assert time.monotonic() - begun < BOUND
    assert [one.code for one in ended] == [EXIT_CODE] * 2, ended[0].out[-3000:]
    told = "".join(one.out for one in ended)
    assert f"error: Rank {hangs} of 2 is stuck at iteration 6" in told
    assert "faults/fault_runs.py" in told or "faults/test_lost_ranks.py" in told
    assert "in sleeping" in (tmp_path / f"hang.rank{hangs}.txt").read_text()


@pytest.mark.slow
def test_a_rank_that_hangs_in_its_forward_pass_is_named(place, tmp_path):
    def stuck(runner) -> None:
        def slow(module, images) -> None:
            if runner.iter == 3:
                sleeping(runner)

        # no method put in its place: BudgetHook's copy of the model would call the original's
        runner.model.module.register_forward_pre_hook(slow)

    given = options(place) | {"default_hooks.hang.seconds": 8}
    ended = runs.train_ranks(shipped.PRETRAIN, given, tmp_path, [None, stuck])
    assert [one.code for one in ended] == [EXIT_CODE] * 2, ended[0].out[-3000:]
    told = "".join(one.out for one in ended)
    assert "error: Rank 1 of 2 is stuck at iteration 4, before the forward pass" in told
    assert "while others wait at iteration 4" in told


def test_the_rank_behind_is_the_one_that_is_named():
    ahead = Beat(9, "iteration 5, after the forward pass", "torch/autograd/graph.py:9 in x", True)
    late = Beat(8, "iteration 5, before the forward pass", "lib/cv2.py:3 in read")
    assert behind({0: ahead, 1: late, 2: ahead}) == (
        "Rank 1 of 3 is stuck at iteration 5, before the forward pass (lib/cv2.py:3 in read), "
        "while others wait at iteration 5, after the forward pass."
    )


def test_of_ranks_at_one_point_the_one_that_waits_for_nobody_is_named():
    waiting = Beat(8, "iteration 5, before the forward pass", "torch/distributed/a.py:1 in b", True)
    stuck = Beat(8, "iteration 5, before the forward pass", "vit.py:3 in forward")
    assert behind({0: waiting, 1: waiting, 2: stuck}).startswith("Rank 2 of 3 is stuck")
    assert behind({0: waiting, 1: waiting}).startswith("All 2 ranks are stuck at iteration 5")


def test_a_run_of_one_process_and_a_rank_without_a_sign_are_told():
    assert behind({0: Beat(3, "iteration 2", "a.py:1 in f")}) == (
        "The run is stuck at iteration 2 (a.py:1 in f)."
    )
    assert "Of ranks 1, 2 there is no sign" in behind({0: Beat(3, "here"), 1: None, 2: None})


def test_a_watch_stops_a_process_without_a_sign_of_life(tmp_path, monkeypatch, capsys):
    left = []
    over = threading.Event()
    monkeypatch.setattr(
        "semaim_mm.runtime.reliable.hang.leave", lambda code: (left.append(code), over.set())
    )
    folder = tmp_path / ".beats"
    folder.mkdir()
    hook = HangHook(seconds=0.2)
    hook._now("iteration 3, loading data")
    (folder / "rank1.json").write_text(json.dumps(dict(run="of before", count=1, place="x")))
    Watch(hook, folder, "this", 0, 2, over).run()
    assert left == [EXIT_CODE]
    told = capsys.readouterr().err
    assert "error: Of rank 1 there is no sign." in told and "hang.rank0.txt" in told
    assert "test_lost_ranks.py" in (tmp_path / "hang.rank0.txt").read_text()


def test_a_watched_model_gives_what_it_gave_and_is_watched_no_longer_than_its_training(tmp_path):
    model = torch.nn.Linear(2, 1)
    runner = SimpleNamespace(model=model, work_dir=tmp_path, iter=4, rank=0, world_size=1)
    image = torch.ones(1, 2)
    wanted = model(image)
    hook = HangHook()
    hook.before_train(runner)
    begun = hook._beat.count
    assert torch.equal(model.eval()(image), wanted) and hook._beat.count == begun
    assert torch.equal(model.train()(image), wanted) and hook._beat.count == begun + 1
    assert hook._beat.place == "iteration 5, after the forward pass"
    assert torch.equal(copy.deepcopy(model)(image), wanted)  # as BudgetHook copies it
    assert any(thread.name == "hang" for thread in threading.enumerate())
    hook.restore()
    assert not model._forward_hooks
    for thread in threading.enumerate():
        if thread.name == "hang":
            thread.join(10)
            assert not thread.is_alive()


def test_a_watch_of_no_seconds_is_refused():
    with pytest.raises(InputError, match="seconds=0 must be above 0"):
        HangHook(seconds=0)


def test_errors_of_other_kinds_are_not_taken_for_lost_ranks():
    assert is_of_a_lost_rank(RuntimeError("[pair.cc:534] Connection closed by peer [::1]:4"))
    assert not is_of_a_lost_rank(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
