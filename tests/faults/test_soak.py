"""A short soak survives what it is given, and a difference would be found."""

from __future__ import annotations

import json
import random
import subprocess
import sys

import pytest
import torch

from semaim_mm.errors import InputError
from semaim_mm.runtime.reliable.soak import Soak, equal, lines_of, strike


@pytest.mark.slow
def test_half_a_minute_of_faults_loses_nothing(tmp_path):
    command = [sys.executable, "tools/soak.py", "--minutes", "0.5", "--seed", "3"]
    command += ["--out", str(tmp_path / "soak")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=400)
    assert done.returncode == 0, done.stdout + done.stderr[-3000:]
    found = json.loads(done.stdout[done.stdout.index("{") :])
    assert found["trainings"] == found["equal"] >= 1
    assert found["steps_lost"] == 0 and found["steps_each"] == 96
    assert sum(found["survived"].values()) >= 1
    assert found["attempts"] > found["trainings"]


def test_a_lost_or_different_step_and_another_weight_are_found(tmp_path, monkeypatch):
    soak = Soak(tmp_path / "soak", 1)
    contents = {"a": torch.zeros(2), "b": torch.zeros(2)}
    monkeypatch.setattr("semaim_mm.runtime.reliable.soak.newest_checkpoint", lambda path: path.name)
    monkeypatch.setattr(
        "semaim_mm.runtime.reliable.soak.read_file",
        lambda name: dict(state_dict=contents[name], optimizer={}, param_schedulers=[]),
    )
    one, other = tmp_path / "a", tmp_path / "b"
    for folder in (one, other):
        folder.mkdir()
        (folder / "steps.jsonl").write_text("[1, 0.5]\n[2, 0.4]\n")
    assert soak._check(one, other) and soak.lost == 0
    contents["b"] = torch.tensor([0.0, 1e-38])
    assert not soak._check(one, other)
    contents["b"] = contents["a"]
    (one / "steps.jsonl").write_text("[1, 0.5]\n[1, 0.5]\n[2,")
    assert not soak._check(one, other)
    assert (soak.lost, soak.replayed) == (1, 1)


def test_contents_are_compared_bit_by_bit():
    content = dict(a=[torch.tensor([1.0])], b=(1, "x"))
    assert equal(content, dict(a=[torch.tensor([1.0])], b=(1, "x")))
    for other in (dict(content, b=(1, "y")), dict(content, a=[torch.tensor([1.0 + 1e-6])]), {}):
        assert not equal(content, other)


def test_a_fault_to_a_process_that_has_ended_is_not_counted():
    ended = subprocess.Popen(["true"])
    ended.wait()
    for fault in ("kill", "worker", "disk", "stop"):
        assert not strike(ended.pid, fault, random.Random(0))


def test_steps_that_a_kill_cut_off_are_none(tmp_path):
    (tmp_path / "steps.jsonl").write_text("[1, 0.5]\n[2, 0.")
    assert lines_of(tmp_path) == [[1, 0.5]]


def test_a_folder_that_holds_something_is_refused(tmp_path):
    (tmp_path / "x").write_text("")
    with pytest.raises(InputError, match="is not empty"):
        Soak(tmp_path, 1)
