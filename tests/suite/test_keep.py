"""A suite's results go to another machine without weights, and are finished there."""

from __future__ import annotations

import hashlib
import io
import runpy
import sys
import tarfile
from pathlib import Path

import pytest
from machine import SPEC, Machine, spec_in

from semaim_mm.errors import InputError
from semaim_mm.leaderboard.asked import read_asked
from semaim_mm.suite.keep import keep, restore, uncounted
from semaim_mm.suite.stages import output_of, plan


@pytest.fixture
def here(tmp_path):
    (tmp_path / "here").mkdir()
    return spec_in(tmp_path / "here")


@pytest.fixture
def there(tmp_path):
    (tmp_path / "there").mkdir()
    return spec_in(tmp_path / "there")


def machine(score=50.0) -> Machine:
    found = Machine()
    found.score = lambda stage: score
    return found


def test_what_was_finished_here_is_finished_there(here, there, tmp_path):
    machine().go(here)
    folder = tmp_path / "here/runs/toy/semantic/seed0/pretrain/2026/vis_data"
    folder.mkdir(parents=True)
    (folder / "scalars.json").write_text('{"loss": 1.0, "step": 1}\n')
    (folder / "config.py").write_text("model = dict(type='SemAIM')\n")
    archives = keep(here, tmp_path / "kept")
    assert sorted(path.name for path in archives) == [
        f"{name}.tar.xz"
        for name in ("pixels-seed0", "random-seed0", "random-seed1", "semantic-seed0")
    ] + ["semantic-seed1.tar.xz"]
    unpacked, passed_over = restore(there, tmp_path / "kept")
    assert len(unpacked) == 5 and passed_over == []
    elsewhere = machine()
    assert read_asked(there.folder).absent == ()
    assert set(elsewhere.go(there).values()) == {"finished before"} and elsewhere.ran == []
    assert not any(output_of(s).exists() for s in plan(there) if s.kind != "test")
    assert not list(there.folder.rglob("log.txt"))
    for pattern in ("result.json", "stage.json", "scalars.json", "config.py"):
        files = list(here.folder.rglob(pattern))
        assert files
        for path in files:
            assert (there.folder / path.relative_to(here.folder)).read_bytes() == path.read_bytes()


def test_a_method_and_seed_that_is_not_whole_is_not_kept(here, there, tmp_path):
    broken = machine()
    broken.fails = {"semantic/seed1/ade20k/train"}
    broken.go(here)
    names = {path.name for path in keep(here, tmp_path / "kept")}
    assert "semantic-seed0.tar.xz" in names and "semantic-seed1.tar.xz" not in names
    restore(there, tmp_path / "kept")
    elsewhere = machine()
    elsewhere.go(there)
    assert elsewhere.ran and all(name.startswith("semantic/seed1/") for name in elsewhere.ran)
    # the rest is kept when it is there, and no archive is written twice
    assert [path.name for path in keep(there, tmp_path / "kept")] == ["semantic-seed1.tar.xz"]
    assert keep(there, tmp_path / "kept") == []


def test_the_same_files_give_the_same_bytes(here, tmp_path):
    machine().go(here)
    digests = []
    for folder in ("one", "two"):
        for path in here.folder.rglob("stage.json"):
            path.touch()
        keep(here, tmp_path / folder)
        paths = sorted((tmp_path / folder).iterdir())
        digests.append([hashlib.sha256(path.read_bytes()).hexdigest() for path in paths])
    assert digests[0] == digests[1]


def test_an_archive_of_other_results_is_written_anew(here, there, tmp_path):
    machine(50.0).go(here)
    keep(here, tmp_path / "kept")
    stale = tmp_path / "kept/random-seed1.tar.xz"
    intact = {path: path.read_bytes() for path in (tmp_path / "kept").iterdir() if path != stale}
    (result,) = (here.folder / "random/seed1/ade20k/test").glob("result.json")
    (tmp_path / "other").mkdir()
    machine(60.0).go(spec_in(tmp_path / "other"))
    again = tmp_path / "other/runs/toy/random/seed1/ade20k"
    (here.folder / "random/seed1/ade20k").rename(tmp_path / "former")
    again.rename(here.folder / "random/seed1/ade20k")
    assert keep(here, tmp_path / "kept") == [stale]
    assert {path: path.read_bytes() for path in intact} == intact
    restore(there, tmp_path / "kept")
    assert (there.folder / result.relative_to(here.folder)).read_bytes() == result.read_bytes()
    assert keep(here, tmp_path / "kept") == []
    stale.write_bytes(b"cut off")
    assert keep(here, tmp_path / "kept") == [stale]


def test_what_is_there_already_is_left_alone(here, there, tmp_path):
    machine(50.0).go(here)
    machine(60.0).go(there)
    keep(here, tmp_path / "kept")
    before = {path: path.read_bytes() for path in there.folder.rglob("*") if path.is_file()}
    unpacked, passed_over = restore(there, tmp_path / "kept")
    assert unpacked == [] and len(passed_over) == 5
    assert before == {path: path.read_bytes() for path in before}
    named = {path.name for path in there.folder.rglob("*") if path.is_file() and path not in before}
    assert named <= {"suite.json", ".suite.json.lock"}


def test_what_was_to_be_compared_can_not_be_chosen_anew(here, there, tmp_path):
    machine().go(here)
    keep(here, tmp_path / "kept")
    for use in (keep, restore):
        with pytest.raises(InputError, match="Keep what was declared"):
            use(there._replace(comparisons=(("random", "pixels"),)), tmp_path / "kept")
    assert not there.folder.exists()


def test_another_config_runs_anew(here, tmp_path):
    machine().go(here)
    keep(here, tmp_path / "kept")
    (tmp_path / "other").mkdir()
    longer = SPEC.replace("semaim_tiny.py", "semaim_tiny_order-raster.py")
    other = spec_in(tmp_path / "other", longer)
    restore(other, tmp_path / "kept")
    elsewhere = machine()
    elsewhere.go(other)
    assert elsewhere.ran and all(name.startswith("semantic/") for name in elsewhere.ran)


@pytest.mark.parametrize(
    "name", ["../outside.txt", "/outside.txt", "raster/seed0/knn/test/result.json", "notes.txt"]
)
def test_an_archive_of_other_files_is_refused_whole(there, tmp_path, name):
    (tmp_path / "kept").mkdir()
    with tarfile.open(tmp_path / "kept" / "random-seed0.tar.xz", "w:xz") as archive:
        for each in ("random/seed0/knn/test/stage.json", name):
            archive.addfile(tarfile.TarInfo(each), io.BytesIO())
    with pytest.raises(InputError, match="nothing of it was unpacked"):
        restore(there, tmp_path / "kept")
    assert not there.folder.exists() and not (tmp_path / "outside.txt").exists()


def test_a_link_is_no_file_of_a_stage(there, tmp_path):
    (tmp_path / "kept").mkdir()
    entry = tarfile.TarInfo("random/seed0/knn/test/result.json")
    entry.type, entry.linkname = tarfile.SYMTYPE, "/etc/hostname"
    with tarfile.open(tmp_path / "kept" / "random-seed0.tar.xz", "w:xz") as archive:
        archive.addfile(entry)
    with pytest.raises(InputError, match="no file of a stage"):
        restore(there, tmp_path / "kept")


def test_what_holds_no_archive_of_the_suite_is_told(there, tmp_path):
    with pytest.raises(InputError, match="holds no"):
        restore(there, tmp_path)
    (tmp_path / "mae-seed7.tar.xz").write_bytes(b"")
    with pytest.raises(InputError, match="no method and seed of the suite toy"):
        restore(there, tmp_path)
    (tmp_path / "mae-seed7.tar.xz").rename(tmp_path / "random-seed0.tar.xz")
    with pytest.raises(InputError, match="can't be unpacked"):
        restore(there, tmp_path)


def test_what_does_not_count_is_named_and_counts_once_it_is_mended(here, tmp_path):
    machine().go(here)
    keep(here, tmp_path / "kept")
    (tmp_path / "other").mkdir()
    other = spec_in(
        tmp_path / "other", SPEC.replace("semaim_tiny.py", "semaim_tiny_order-raster.py")
    )
    unpacked, _ = restore(other, tmp_path / "kept")
    named = [path.name for path in uncounted(other, unpacked)]
    assert named == ["semantic-seed0.tar.xz", "semantic-seed1.tar.xz"]
    assert {item.method for item in read_asked(other.folder).absent} == {"semantic"}
    mended = spec_in(tmp_path / "other")
    unpacked, passed_over = restore(mended, tmp_path / "kept")
    assert unpacked == [] == uncounted(mended, passed_over)
    assert read_asked(mended.folder).absent == ()


def test_the_tool_tells_what_is_new_from_what_is_written_anew(here, tmp_path, monkeypatch, capsys):
    machine().go(here)
    tool = Path(__file__).resolve().parents[2] / "tools/keep_results.py"
    given = ["keep_results.py", str(tmp_path / "here/toy.py"), str(tmp_path / "kept")]
    monkeypatch.setattr(sys, "argv", given)
    main = runpy.run_path(str(tool))["main"]
    main()
    told = capsys.readouterr().out
    assert "5 archive(s) written." in told and "anew" not in told
    stale = tmp_path / "kept/pixels-seed0.tar.xz"
    (tmp_path / "kept/random-seed0.tar.xz").rename(stale)
    main()
    told = capsys.readouterr().out
    assert f"{stale}: written anew: it held other results" in told
    assert f"{tmp_path}/kept/random-seed0.tar.xz: written\n" in told
    assert "2 archive(s) written." in told
    archive = tmp_path / "kept/semantic-seed0.tar.xz"
    (tmp_path / "there").mkdir()
    spec_in(tmp_path / "there", SPEC.replace("semaim_tiny.py", "semaim_tiny_order-raster.py"))
    there = str(tmp_path / "there/toy.py")
    monkeypatch.setattr(sys, "argv", ["keep_results.py", there, given[2], "--restore"])
    main()
    told = capsys.readouterr().out
    assert "5 archive(s) unpacked into" in told and told.count("does not count here yet") == 2
    assert f"{archive}: does not count here yet" in told
    assert f"tools/transfer.py {there} --dry-run" in told
