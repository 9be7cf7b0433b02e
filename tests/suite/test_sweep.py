"""Equal tuning: one grid for every method, chosen on held-out images of the first seed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from machine import SPEC, Machine, spec_in

from semaim_mm.errors import InputError
from semaim_mm.suite.stages import plan, with_their_inputs
from semaim_mm.suite.summary import write_summary
from semaim_mm.suite.sweep import grid_points
from semaim_mm.suite.view import commands, results_table, states_of

GRID = '{"optim_wrapper.optimizer.lr": [1e-4, 1e-3], "model.backbone.drop_path_rate": [0.0, 0.2]}'
SWEPT = SPEC + f"sweep = dict(ade20k={GRID})\n"


def score(stage) -> float:
    """Semantic is best with the third point of the grid, random with the second."""
    best = {"semantic": 2, "random": 1}.get(stage.method)
    return 90.0 if stage.trial == best else 50.0


@pytest.fixture
def machine():
    machine = Machine()
    machine.score = score
    return machine


def test_a_grid_is_every_combination():
    points = grid_points({"a": [1, 2], "b": [3, 4]})
    assert points == [{"a": 1, "b": 3}, {"a": 1, "b": 4}, {"a": 2, "b": 3}, {"a": 2, "b": 4}]


def test_trials_are_of_the_first_seed_alone_and_train_without_the_held_out_share(tmp_path):
    stages = plan(spec_in(tmp_path, SWEPT))
    trials = [stage for stage in stages if stage.trial is not None]
    assert len(trials) == 2 * 4 * 2 and {stage.seed for stage in trials} == {0}
    assert {stage.options["holdout"] for stage in trials} == {0.1}
    assert trials[2].options["model.backbone.drop_path_rate"] == 0.2
    mains = [s for s in stages if s.task == "ade20k" and s.trial is None and s.kind == "train"]
    assert len(mains) == 4
    for stage in mains:
        assert "holdout" not in stage.options
        assert stage.trials == tuple(f"{stage.method}/seed0/ade20k/trial{n}/test" for n in range(4))


def test_every_method_gets_its_best_settings_for_all_its_seeds(tmp_path, machine):
    spec = spec_in(tmp_path, SWEPT)
    assert set(machine.go(spec).values()) == {"complete"}
    for method, lr, drop in (("semantic", 0.001, 0.0), ("random", 0.0001, 0.2)):
        for seed in (0, 1):
            command = machine.commands[f"{method}/seed{seed}/ade20k/train"]
            assert f"optim_wrapper.optimizer.lr={lr}" in command
            assert f"model.backbone.drop_path_rate={drop}" in command
            (told,) = [part for part in command if part.startswith("tuned=")]
            choice = json.loads(Path(told.removeprefix("tuned=")).read_text())
            assert choice["chosen"] == {
                "optim_wrapper.optimizer.lr": lr,
                "model.backbone.drop_path_rate": drop,
            }
            assert [trial["value"] for trial in choice["trials"]].count(90.0) == 1
            assert (choice["metric"], choice["share"]) == ("top1", 0.1)
    assert set(machine.go(spec).values()) == {"finished before"}


def test_a_failed_trial_leaves_its_method_out_and_no_other(tmp_path, machine):
    machine.fails = {"semantic/seed0/ade20k/trial1/train"}
    statuses = machine.go(spec_in(tmp_path, SWEPT))
    for seed in (0, 1):
        assert statuses[f"semantic/seed{seed}/ade20k/train"] == "waits"
        assert statuses[f"random/seed{seed}/ade20k/test"] == "complete"


def test_a_trial_whose_result_was_edited_chooses_nothing(tmp_path, machine):
    spec = spec_in(tmp_path, SWEPT)
    stages = {stage.name: stage for stage in plan(spec)}
    machine.go(spec)
    edited = stages["random/seed0/ade20k/trial0/test"].folder / "result.json"
    record = edited.parent / "stage.json"
    edited.write_text(edited.read_text().replace("50.0", "99.0"))
    content = json.loads(record.read_text())
    record.write_text(json.dumps(content | dict(output_sha256=_sha256(edited))))
    statuses = machine.go(spec)
    assert statuses["random/seed0/ade20k/train"] == "failed"
    assert any("was edited" in line for line in machine.lines)
    assert statuses["semantic/seed0/ade20k/test"] == "finished before"


def _sha256(path) -> str:
    from semaim_mm.interop.checkpoint_file import sha256_of

    return sha256_of(path)


def test_the_plan_waits_for_the_trials_and_only_takes_them_along(tmp_path, machine):
    spec = spec_in(tmp_path, SWEPT)
    stages = plan(spec)
    main = next(stage for stage in stages if stage.name == "random/seed1/ade20k/train")
    assert states_of(stages)[main.name] == "after random/seed0/ade20k/trial0/test"
    chosen = with_their_inputs(stages, "random/seed1/ade20k")
    assert sum(stage.trial is not None for stage in chosen) == 8
    told = dict(line.split(": ") for line in commands(chosen, ["toy.py"])[::2])
    assert told[f"# {main.name}"] == "what the sweep has yet to choose"
    machine.go(spec)
    assert states_of(stages)[main.name] == "finished"


def test_trials_are_published_and_stand_in_no_cell_of_the_table(tmp_path, machine):
    spec = spec_in(tmp_path, SWEPT)
    outcomes = machine.outcomes(spec)
    rows = json.loads(write_summary(spec, plan(spec), outcomes).read_text())["stages"]
    trials = [row for row in rows if row["trial"] is not None]
    assert len(trials) == 16
    assert trials[0]["settings"] == {
        "optim_wrapper.optimizer.lr": 0.0001,
        "model.backbone.drop_path_rate": 0.0,
    }
    table = results_table(spec, outcomes)
    assert [str(cell) for cell in table.columns[2].cells] == ["50.0 50.0", "50.0 50.0", "not asked"]


@pytest.mark.parametrize(
    ("sweep", "message"),
    [
        ('dict(seg={"base_lr": [1, 2]})', "sweeps seg, which is no task"),
        ('dict(ade20k={"base_lr": [1]})', "two combinations or more"),
        ('dict(ade20k={"base_lr": 1})', "lists of values"),
        ("[1]", "must be a dict of tasks"),
    ],
)
def test_a_wrong_sweep_stops_before_anything_runs(sweep, message, tmp_path):
    with pytest.raises(InputError, match=message):
        spec_in(tmp_path, SPEC + f"sweep = {sweep}\n")


@pytest.mark.parametrize(
    ("leaf", "grid", "message"),
    [
        ("seg/upernet_tiny.py", '{"base_ler": [1, 2]}', "sets base_ler, which .* does not have"),
        (
            "cls/finetune_tiny.py",
            '{"optim_wrapper.optimizer.lr": [1, 2]}',
            "which base_lr of .* overwrites",
        ),
        (
            "cls/finetune_tiny.py",
            '{"train_dataloader.batch_size": [1, 2]}',
            "sets train_dataloader.batch_size; what a sweep may choose begins with base_lr",
        ),
    ],
)
def test_a_sweep_whose_trials_would_all_be_the_same_is_refused(leaf, grid, message, tmp_path):
    text = SPEC.replace("seg/upernet_tiny.py", leaf)
    with pytest.raises(InputError, match=message):
        plan(spec_in(tmp_path, f"{text}sweep = dict(ade20k={grid})\n"))


def test_a_task_that_trains_nothing_is_not_swept(tmp_path):
    spec = spec_in(tmp_path, SPEC + 'sweep = dict(knn={"base_lr": [1, 2]})\n')
    with pytest.raises(InputError, match=r"sweeps knn, but configs/cls/knn_tiny.py trains nothing"):
        plan(spec)
