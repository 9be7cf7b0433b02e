"""What a suite tells Slurm itself, and jobs that are still there when it goes on without Slurm."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from machine import Machine, spec_in

from semaim_mm.errors import InputError
from semaim_mm.suite.execute import Progress, SuiteRun
from semaim_mm.suite.slurm import SlurmJobs, under_way
from semaim_mm.suite.stages import Stage, plan
from semaim_mm.suite.state import FILE_NAME, key_of, read_state, write_state


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        (dict(nodes=1), r"nodes \(set the suite's gpus, which go 8 to a node\); leave it out"),
        (dict(tasks_per_node=2), r"tasks_per_node \(set the suite's gpus, each"),
        (dict(gpus_per_node=8, timeout_min=60), r"gpus_per_node \(set the suite's gpus\)"),
        (dict(name="mine"), r"name \(a job is called as its stage is\)"),
    ],
)
def test_what_the_suite_says_to_slurm_itself_is_no_setting(tmp_path, settings, told):
    with pytest.raises(InputError, match=told):
        SlurmJobs(tmp_path, settings)


def squeue(folder: Path, monkeypatch, script: str) -> None:
    path = folder / "squeue"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}/usr/bin{os.pathsep}/bin")


@pytest.mark.parametrize(
    ("script", "found"),
    [
        ("echo '4711 RUNNING'", True),
        ("echo '12 RUNNING'; echo '4711 PENDING'", True),
        ("echo '4711 SUSPENDED'", True),
        ("echo '4711 COMPLETING'", True),
        ("echo '4711 CANCELLED'", False),
        ("echo '47110 RUNNING'", False),
        ("", False),
        ("exit 1", None),
    ],
)
def test_the_queue_says_whether_a_job_is_under_way(tmp_path, monkeypatch, script, found):
    squeue(tmp_path, monkeypatch, script)
    assert under_way("4711") is found


def test_without_slurm_nobody_says_whether_a_job_is_under_way(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert under_way("4711") is None


def begun(folder: Path, **record) -> Stage:
    """A stage whose record says that a Slurm job runs it, with a checkpoint."""
    stage = plan(spec_in(folder))[0]
    write_state(stage, **{"status": "running", "key": key_of(stage), "job": "4711", **record})
    (stage.folder / "iter_7.pth").write_text("half trained")
    return stage


def run_locally(stage: Stage) -> tuple[str, str, list[str | None]]:
    """-> the stage's status, what was told, the numbers of jobs that a launcher was given."""
    machine, told = Machine(), []
    (outcome,) = SuiteRun([stage], machine, Progress(told.append)).run()
    return outcome.status, "\n".join(told), machine.taken_up


@pytest.mark.parametrize("record", [{}, dict(key="of another config")])
@pytest.mark.parametrize("queue", ["echo '4711 RUNNING'", "exit 1"])
def test_no_local_process_starts_beside_a_job_of_slurm(tmp_path, monkeypatch, record, queue):
    squeue(tmp_path, monkeypatch, queue)
    stage = begun(tmp_path, **record)
    former = read_state(stage)
    status, told, taken_up = run_locally(stage)
    assert status == "failed" and taken_up == []
    assert "Slurm's job 4711 of an earlier run may still write into" in told
    assert "go on with --jobs slurm" in told and "scancel 4711" in told
    assert (stage.folder / "iter_7.pth").is_file()
    assert read_state(stage) == former, "with --jobs slurm the job is to be found again"
    # the way out where Slurm is gone for good, as the sentence says it
    path = stage.folder / FILE_NAME
    assert f"write interrupted in place of running in {path}" in told
    path.write_text(path.read_text().replace("running", "interrupted"))
    status, _, taken_up = run_locally(stage)
    assert status == "complete" and taken_up == [None]
    assert (stage.folder / "iter_7.pth").is_file() == (not record)


def test_a_job_that_slurm_has_ended_holds_up_no_local_process(tmp_path, monkeypatch):
    squeue(tmp_path, monkeypatch, "echo '4711 CANCELLED'")
    stage = begun(tmp_path)
    status, _, taken_up = run_locally(stage)
    assert status == "complete" and taken_up == [None]
    assert (stage.folder / "iter_7.pth").is_file(), "its training is resumed"
    assert json.loads((stage.folder / FILE_NAME).read_text())["job"] == "job 1"
