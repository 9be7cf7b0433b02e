"""A stage that can't start: what an earlier run left in its folder is neither lost nor misread."""

from __future__ import annotations

from pathlib import Path

import pytest
from machine import SPEC, Machine, spec_in

from semaim_mm.suite import execute
from semaim_mm.suite.execute import Progress, SuiteRun
from semaim_mm.suite.spec import Spec
from semaim_mm.suite.stages import plan, with_their_inputs
from semaim_mm.suite.state import NEVER_BEGAN, key_of, read_state, write_state

TRAIN = "random/seed0/ade20k/train"
LEAF = 'ade20k="configs/seg/upernet_tiny.py"'
DECAYED = """ade20k=dict(
    config="configs/seg/upernet_tiny.py", options={"optim_wrapper.optimizer.weight_decay": 0.5}
)"""


@pytest.fixture
def machine():
    return Machine()


def go(spec: Spec, machine: Machine) -> dict[str, str]:
    """Run one method's training and test alone -> how each ended."""
    stages = with_their_inputs(plan(spec), TRAIN.removesuffix("/train"))
    machine.ran, machine.lines = [], []
    outcomes = SuiteRun(stages, machine, Progress(machine.lines.append)).run()
    return {outcome.stage.name: outcome.status for outcome in outcomes}


def interrupt(spec: Spec, machine: Machine) -> Path:
    """Stop the training after a save -> the checkpoint that it left."""
    saved = spec.folder / TRAIN / "iter_7.pth"
    machine.stops = {TRAIN}
    assert go(spec, machine)[TRAIN] == "interrupted"
    machine.stops = set()
    saved.write_text("half trained")
    return saved


def refuse(*given):
    raise RuntimeError("sbatch: error: Unable to contact slurm controller")


@pytest.mark.parametrize("where", ["start", "settle"])
def test_a_half_done_training_is_not_resumed_under_another_config(
    tmp_path, machine, monkeypatch, where
):
    spec = spec_in(tmp_path)
    saved = interrupt(spec, machine)
    with monkeypatch.context() as broken:
        broken.setattr(*((machine, "start") if where == "start" else (execute, "settle")), refuse)
        assert go(spec, machine)[TRAIN] == "failed"
    changed = spec_in(tmp_path, SPEC.replace(LEAF, DECAYED))
    assert go(changed, machine)[TRAIN] == "complete"
    assert not saved.exists()
    assert (saved.parent.with_name("train.stale1") / saved.name).read_text() == "half trained"


@pytest.mark.parametrize("where", ["start", "settle"])
def test_a_half_done_training_goes_on_with_its_time_once_it_can_start_again(
    tmp_path, machine, monkeypatch, where
):
    spec = spec_in(tmp_path)
    saved = interrupt(spec, machine)
    stage = next(stage for stage in plan(spec) if stage.name == TRAIN)
    write_state(stage, **{**read_state(stage), "seconds": 100.0})
    for _ in range(2):
        with monkeypatch.context() as broken:
            place = (machine, "start") if where == "start" else (execute, "settle")
            broken.setattr(*place, refuse)
            assert go(spec, machine)[TRAIN] == "failed"
        assert read_state(stage)["status"] == "failed"
    assert go(spec, machine)[TRAIN] == "complete"
    assert saved.read_text() == "half trained"
    assert 100 <= read_state(stage)["seconds"] < 110


def test_what_an_older_record_says_of_a_folder_with_more_than_a_log_is_not_believed(
    tmp_path, machine
):
    spec = spec_in(tmp_path)
    saved = interrupt(spec, machine)
    stage = next(stage for stage in plan(spec) if stage.name == TRAIN)
    write_state(stage, status="failed", key=NEVER_BEGAN)
    go(spec, machine)
    assert not saved.exists() and saved.parent.with_name("train.stale1").is_dir()


def test_files_without_a_record_are_moved_aside_after_a_failed_start_too(
    tmp_path, machine, monkeypatch
):
    spec = spec_in(tmp_path)
    strange = spec.folder / TRAIN / "iter_7.pth"
    strange.parent.mkdir(parents=True)
    strange.write_text("from somewhere")
    with monkeypatch.context() as broken:
        broken.setattr(execute, "settle", refuse)
        go(spec, machine)
    go(spec, machine)
    assert not strange.exists() and strange.parent.with_name("train.stale1").is_dir()


def test_a_stage_that_never_began_leaves_no_stale_folder_under_another_config(
    tmp_path, machine, monkeypatch
):
    with monkeypatch.context() as broken:
        broken.setattr(machine, "start", refuse)
        assert go(spec_in(tmp_path), machine)[TRAIN] == "failed"
    changed = spec_in(tmp_path, SPEC.replace(LEAF, DECAYED))
    assert go(changed, machine)[TRAIN] == "complete"
    assert not list(tmp_path.rglob("*.stale*"))


def test_a_job_that_may_be_under_way_is_found_again_after_a_failed_start(
    tmp_path, machine, monkeypatch
):
    spec = spec_in(tmp_path)
    stage = next(stage for stage in plan(spec) if stage.name == TRAIN)
    write_state(stage, status="running", key=key_of(stage), job="4711")
    machine.launcher = "slurm"
    for place in ((machine, "start"), (execute, "settle")):
        with monkeypatch.context() as broken:
            broken.setattr(*place, refuse)
            assert go(spec, machine)[TRAIN] == "failed"
    go(spec, machine)
    assert machine.taken_up[0] == "4711"


def test_a_start_that_breaks_as_nobody_foresaw_fails_alone_with_its_trace_in_the_log(
    tmp_path, machine
):
    start, name = machine.start, "random/seed0/knn/test"

    def broken(stage, *rest):
        if stage.name == name:
            raise TypeError("update_parameters() got multiple values for 'nodes'")
        return start(stage, *rest)

    machine.start = broken
    spec, told = spec_in(tmp_path), []
    stages = with_their_inputs(plan(spec), "random/seed0")
    outcomes = SuiteRun(stages, machine, Progress(told.append)).run()
    assert [outcome.status for outcome in outcomes] == ["failed", "complete", "complete"]
    assert any("FAILED: TypeError: update_parameters() got" in line for line in told)
    log = (spec.folder / name / "log.txt").read_text()
    assert log.startswith(f"{name} could not start: TypeError: update_parameters() got multiple")
    assert "Traceback" in log and "in broken" in log
