"""The tool's options for the common case: a checkpoint and names of tasks."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

import pytest
import torch
from machine import spec_in

from semaim_mm.errors import InputError
from semaim_mm.vit import SemAIMViT

TOOL = str(Path(__file__).resolve().parents[2] / "tools" / "transfer.py")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory) -> str:
    path = tmp_path_factory.mktemp("weights") / "mine.pth"
    torch.save(SemAIMViT(arch="base").state_dict(), path)
    return str(path)


def give(monkeypatch, *arguments: str) -> None:
    monkeypatch.setattr(sys, "argv", ["transfer.py", *arguments])
    runpy.run_path(TOOL)["main"]()


def test_seeds_and_gpus_of_a_checkpoint_are_planned(monkeypatch, capsys, checkpoint):
    options = ["--gpus", "8", "--seeds", "0,3", "--slurm", "timeout_min=60"]
    give(monkeypatch, checkpoint, "--tasks", "knn,linear", *options, "--dry-run")
    told = capsys.readouterr().out
    assert "seed0/linear/train" in told and "seed3/linear/train" in told
    # k-NN draws nothing: one file has one score
    assert "seed0/knn/test" in told and "seed3/knn/test" not in told


def test_training_as_slurm_jobs_asks_for_gpus(monkeypatch, checkpoint):
    with pytest.raises(InputError, match="finetune would train without a GPU; give --gpus N"):
        give(monkeypatch, checkpoint, "--tasks", "knn,finetune", "--jobs", "slurm", "--dry-run")
    for asked in (["finetune", "--gpus", "0"], ["knn"]):
        give(monkeypatch, checkpoint, "--jobs", "slurm", "--dry-run", "--tasks", *asked)


def test_what_a_suite_says_itself_is_no_option_beside_it(monkeypatch):
    for option in (["--gpus", "1"], ["--seeds", "1"], ["--slurm", "timeout_min=60"]):
        with pytest.raises(InputError, match="set gpus, seeds and slurm in configs/suites/demo.py"):
            give(monkeypatch, "configs/suites/demo.py", *option)


def test_seeds_that_are_no_numbers_are_named(monkeypatch, checkpoint):
    with pytest.raises(InputError, match="--seeds one must be whole numbers"):
        give(monkeypatch, checkpoint, "--tasks", "knn", "--seeds", "one")


def test_a_checkpoint_without_tasks_and_a_broken_suite_are_told(monkeypatch, checkpoint, tmp_path):
    with pytest.raises(InputError, match="mine.pth is no suite's config; a checkpoint needs"):
        give(monkeypatch, checkpoint)
    broken = tmp_path / "broken.py"
    broken.write_text("methods = dict(\n")
    with pytest.raises(InputError, match="broken.py, line 1 can't be read as a config"):
        give(monkeypatch, str(broken))


def test_printed_lines_name_the_suite_as_it_was_given(monkeypatch, capsys, checkpoint):
    given = ["--tasks", "knn-cls", "--seeds", "0,3"]
    give(monkeypatch, checkpoint, *given, "--jobs", "print")
    lines = capsys.readouterr().out.splitlines()
    first = next(line for line in lines if line.startswith("python tools/transfer.py"))
    assert first.startswith(f"python tools/transfer.py {checkpoint} {' '.join(given)} --only ")


@pytest.mark.parametrize("name", ["d[/x]", "d[old]"])
def test_the_way_to_the_leaderboard_is_told_of_a_folder_with_brackets(
    monkeypatch, capsys, tmp_path, name
):
    folder = tmp_path / name
    folder.mkdir(parents=True)
    spec = spec_in(folder)
    monkeypatch.setattr("semaim_mm.suite.run.run_suite", lambda *given: [])
    with pytest.raises(SystemExit, match="0"):
        give(monkeypatch, str(folder / "toy.py"))
    told = f"The leaderboard: python tools/leaderboard.py {spec.folder} --out {spec.folder}"
    assert told in capsys.readouterr().out


@pytest.mark.parametrize(("gpus", "last"), [("8", 368750), ("16", 184375), ("0", 2950000)])
def test_printed_lines_name_the_checkpoint_that_a_training_ends_with(
    monkeypatch, capsys, checkpoint, gpus, last
):
    """Counted in steps: 184,375 updates of 64 images by so many GPUs, 4 images each."""
    given = ["--tasks", "coco,linear", "--gpus", gpus]
    give(monkeypatch, checkpoint, *given, "--jobs", "print")
    told = capsys.readouterr().out
    assert f"coco/train/iter_{last}.pth" in told and "linear/train/epoch_90.pth" in told
