"""A suite runs what is missing, knows what is finished by content, and goes on after a failure."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest
from machine import SPEC, Machine, spec_in

from semaim_mm.errors import InputError
from semaim_mm.leaderboard.asked import asked_board, read_asked
from semaim_mm.suite.execute import Progress, SuiteRun, exit_code
from semaim_mm.suite.stages import output_of, plan
from semaim_mm.suite.state import key_of, read_state, write_state
from semaim_mm.suite.summary import write_summary
from semaim_mm.suite.view import states_of


@pytest.fixture
def machine():
    return Machine()


def test_what_is_finished_is_passed_over(tmp_path, machine):
    spec = spec_in(tmp_path)
    assert set(machine.go(spec).values()) == {"complete"} and len(machine.ran) == 15
    assert set(machine.go(spec).values()) == {"finished before"} and machine.ran == []
    record = read_state(plan(spec)[0])
    assert record["status"] == "complete" and record["seconds"] >= 0
    assert "tools/train.py" in record["command"]


def test_stages_run_side_by_side_and_none_before_its_input(tmp_path):
    machine = Machine(places=3, lasts=4)
    spec = spec_in(tmp_path)
    assert set(machine.go(spec).values()) == {"complete"}
    assert machine.most == 3
    for stage in plan(spec):
        assert not stage.needs or machine.ran.index(stage.needs) < machine.ran.index(stage.name)


def test_a_job_that_outlived_the_runner_is_taken_up_by_its_number(tmp_path, machine):
    spec = spec_in(tmp_path)
    stage = plan(spec)[0]
    write_state(stage, status="running", key=key_of(stage), job="4711")
    machine.launcher = "slurm"
    machine.go(spec)
    assert machine.taken_up[0] == "4711" and set(machine.taken_up[1:]) == {None}
    assert read_state(stage)["job"] == "job 1"


def test_a_signal_stops_what_runs_and_the_suite(tmp_path, machine):
    def interrupted(running):
        signal.raise_signal(signal.SIGTERM)

    progress = Progress(lambda line: None)
    progress.look = interrupted
    stages = plan(spec_in(tmp_path))
    machine.lasts = 100
    with pytest.raises(KeyboardInterrupt):
        SuiteRun(stages, machine, progress).run()
    assert machine.stopped == stages[0].name
    assert read_state(stages[0])["status"] == "interrupted"
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_a_suite_says_what_it_asks_for_and_how_far_it_got(tmp_path, machine):
    spec = spec_in(tmp_path)
    machine.fails = {"semantic/seed1/pretrain"}
    run = SuiteRun(plan(spec), machine, Progress(lambda line: None))
    found = json.loads(write_summary(spec, plan(spec)).read_text())
    assert {stage["status"] for stage in found["stages"]} == {"to run"}
    found = json.loads(write_summary(spec, plan(spec), run.run()).read_text())
    assert found["methods"] == ["semantic", "random", "pixels"]
    assert found["comparisons"] == [["semantic", "random"]]
    assert found["truth"] == {}
    rows = {stage["stage"]: stage for stage in found["stages"]}
    failed = rows["semantic/seed1/pretrain"]
    assert failed["status"] == "failed" and failed["log"] == "semantic/seed1/pretrain/log.txt"
    assert rows["semantic/seed1/knn/test"]["status"] == "waits"
    assert rows["pixels/seed0/knn/test"]["status"] == "complete"
    # a later look without a run says what the records say
    again = json.loads(write_summary(spec, plan(spec)).read_text())
    assert [row["status"] for row in again["stages"][:2]] == ["complete", "complete"]


def test_a_suite_names_its_coco_ground_truth_and_its_notes(tmp_path):
    text = SPEC.replace("configs/seg/upernet_tiny.py", "configs/det/mask-rcnn_tiny_vitdet.py")
    spec = spec_in(tmp_path, text + 'notes = dict(ade20k="short")\n')
    found = json.loads(write_summary(spec, plan(spec)).read_text())
    assert list(found["truth"]) == ["coco"]
    truth = spec.folder / found["truth"]["coco"]
    assert truth.resolve() == Path("data/sample/coco/annotations/instances_val.json").resolve()
    assert found["notes"] == {"ade20k": "short"}


def test_comparisons_are_those_declared_before_the_first_result(tmp_path, machine):
    spec = spec_in(tmp_path)
    write_summary(spec, plan(spec))
    other = spec._replace(comparisons=(("semantic", "pixels"),))
    write_summary(other, plan(other))  # nothing has run: it may still change
    machine.go(other)
    write_summary(other, plan(other))
    with pytest.raises(InputError, match=r"has \d+ results, before which .*pixels.* was declared"):
        write_summary(spec, plan(spec))


def test_a_result_whose_stage_waits_now_is_of_an_earlier_run(tmp_path, machine):
    machine.score = lambda stage: 50.0
    spec = spec_in(tmp_path)
    machine.go(spec)
    write_summary(spec, plan(spec))
    changed = spec_in(
        tmp_path,
        SPEC.replace('_tiny.py"),\n    r', "_tiny.py\", options={'base_lr': 1.0}),\n    r"),
    )
    machine.fails = {"semantic/seed0/pretrain"}
    outcomes = machine.outcomes(changed)
    write_summary(changed, plan(changed), outcomes)
    board = asked_board(spec.folder, read_asked(spec.folder), resamples=0)
    told = [item for item in board.excluded if "of an earlier config" in item.reason]
    assert sorted(item.path for item in told) == [
        "semantic/seed0/ade20k/test/result.json",
        "semantic/seed0/knn/test/result.json",
    ]


def test_a_stage_that_can_t_start_leaves_the_others_running(tmp_path, machine):
    start = machine.start

    def refuse(stage, *rest):
        if stage.name == "semantic/seed0/knn/test":
            raise RuntimeError("sbatch: QOSMaxSubmitJobPerUserLimit")
        return start(stage, *rest)

    machine.start = refuse
    statuses = machine.go(spec_in(tmp_path))
    assert statuses.pop("semantic/seed0/knn/test") == "failed"
    assert set(statuses.values()) == {"complete"}
    assert any("QOSMaxSubmit" in line for line in machine.lines)
    machine.start = start
    spec = spec_in(tmp_path)
    # the table still says so, and where to read why, after a look at something else
    found = json.loads(write_summary(spec, plan(spec)).read_text())
    (row,) = [row for row in found["stages"] if row["status"] == "failed"]
    assert row["stage"] == "semantic/seed0/knn/test"
    assert "QOSMaxSubmit" in (spec.folder / row["log"]).read_text()
    assert machine.go(spec)["semantic/seed0/knn/test"] == "complete"
    assert not list(spec.folder.rglob("*.stale*"))


def test_a_job_of_an_earlier_plan_is_cancelled_before_its_folder_is_moved(tmp_path, machine):
    spec = spec_in(tmp_path)
    stage = plan(spec)[0]
    write_state(stage, status="running", key="another", job="4711")
    machine.launcher = "slurm"
    machine.go(spec)
    assert machine.cancelled == ["4711"] and machine.taken_up[0] is None


def test_a_file_that_merely_lies_there_is_not_finished(tmp_path, machine):
    spec = spec_in(tmp_path)
    stage = plan(spec)[0]
    stage.folder.mkdir(parents=True)
    (stage.folder / "epoch_1.pth").write_text("from somewhere")
    assert machine.go(spec)[stage.name] == "complete"
    assert (stage.folder.with_name("pretrain.stale1") / "epoch_1.pth").is_file()


def test_a_changed_checkpoint_runs_again_with_all_that_follows(tmp_path, machine):
    spec = spec_in(tmp_path)
    machine.go(spec)
    stages = plan(spec)
    output_of(stages[0]).write_text("edited")
    assert states_of(stages)[stages[0].name] == "to run"
    machine.go(spec)
    # it is not resumed from what somebody edited; its new output is what it was, so the rest stands
    assert machine.ran == ["semantic/seed0/pretrain"]
    aside = stages[0].folder.with_name("pretrain.stale1")
    assert (aside / output_of(stages[0]).name).read_text() == "edited"


def test_a_changed_config_runs_again_and_moves_the_old_run_aside(tmp_path, machine):
    machine.go(spec_in(tmp_path))
    changed = SPEC.replace(
        'ade20k="configs/seg/upernet_tiny.py"',
        'ade20k=dict(config="configs/seg/upernet_tiny.py", options={"train_cfg.max_iters": 400})',
    )
    machine.go(spec_in(tmp_path, changed))
    assert sorted(machine.ran) == sorted(
        f"{m}/seed{n}/ade20k/{k}"
        for m in ("semantic", "random")
        for n in (0, 1)
        for k in ("train", "test")
    )
    assert len(list(tmp_path.glob("runs/toy/*/seed*/ade20k/train.stale1"))) == 4


def test_a_failed_stage_leaves_the_others_running(tmp_path, machine):
    spec = spec_in(tmp_path)
    machine.fails = {"semantic/seed0/pretrain"}
    statuses = machine.go(spec)
    waiting = [name for name, status in statuses.items() if status == "waits"]
    assert waiting == [f"semantic/seed0/{s}" for s in ("knn/test", "ade20k/train", "ade20k/test")]
    assert statuses["semantic/seed1/ade20k/test"] == "complete"
    assert any("FAILED with code 2" in line and "error: it broke" in line for line in machine.lines)
    machine.fails = set()
    machine.go(spec)
    assert machine.ran == ["semantic/seed0/pretrain", *waiting]


@pytest.mark.parametrize("code", [75, -signal.SIGTERM, -signal.SIGUSR1])
def test_a_stage_that_a_signal_stopped_is_interrupted_and_resumed(
    code, tmp_path, machine, monkeypatch
):
    spec = spec_in(tmp_path)
    monkeypatch.setattr(machine, "stopping", lambda stage: code)
    machine.stops = {"semantic/seed0/pretrain"}
    outcomes = machine.outcomes(spec)
    statuses = {outcome.stage.name: outcome.status for outcome in outcomes}
    assert statuses["semantic/seed0/pretrain"] == "interrupted"
    assert statuses["semantic/seed0/knn/test"] == "waits"
    assert not {"failed", "running"} & set(statuses.values())
    assert exit_code(outcomes) == 75
    assert any("left out, semantic/seed0/pretrain was interrupted" in x for x in machine.lines)
    rows = json.loads(write_summary(spec, plan(spec), outcomes).read_text())["stages"]
    assert {row["stage"]: row["status"] for row in rows} == statuses
    assert {one.kind for one in read_asked(spec.folder).absent} == {"not run"}
    folder = spec.folder / "semantic/seed0/pretrain"
    (folder / "iter_7.pth").write_text("saved")
    machine.stops = set()
    outcomes = machine.outcomes(spec)
    assert machine.ran[0] == "semantic/seed0/pretrain"
    assert (folder / "iter_7.pth").is_file(), "moved aside, so that nothing could be resumed"
    assert "--resume auto" in " ".join(machine.commands["semantic/seed0/pretrain"])
    assert exit_code(outcomes) == 0


@pytest.mark.parametrize(("old", "status"), [(False, "interrupted"), (True, "failed")])
def test_a_training_under_torchrun_says_in_its_status_that_it_was_stopped(
    tmp_path, machine, monkeypatch, old, status
):
    def stopping(stage):
        path = stage.folder / "status.json"
        path.write_text(json.dumps(dict(status="incomplete", stopped="SIGTERM")))
        if old:  # of a run before, and this one broke at its start
            os.utime(path, (1e9, 1e9))
        return 1

    monkeypatch.setattr(machine, "stopping", stopping)
    machine.stops = {"semantic/seed0/pretrain"}
    assert machine.go(spec_in(tmp_path))["semantic/seed0/pretrain"] == status


def test_a_training_that_says_it_is_incomplete_is_not_complete(tmp_path, machine):
    spec = spec_in(tmp_path)
    stage = plan(spec)[0]
    stage.folder.mkdir(parents=True)
    (stage.folder / "status.json").write_text(json.dumps(dict(status="incomplete")))
    write_state(stage, status="running", key=key_of(stage))
    outcomes = machine.outcomes(spec)
    assert {o.stage.name: o.status for o in outcomes}[stage.name] == "failed"
    assert exit_code(outcomes) == 1
