"""The tool's options for the common case: a checkpoint and names of tasks."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

import pytest
import torch

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
    give(monkeypatch, checkpoint, "--tasks", "knn", *options, "--dry-run")
    told = capsys.readouterr().out
    assert "seed0/knn/test" in told and "seed3/knn/test" in told


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
