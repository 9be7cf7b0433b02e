"""Two protocols under one task's name: each of the suite's tasks keeps what is its own."""

from __future__ import annotations

import json

import pytest
from result_files import write

from semaim_mm.leaderboard.asked import asked_board, read_asked
from semaim_mm.leaderboard.model import Absent
from semaim_mm.leaderboard.write.overview import overview

NOTES = {"coco": "the paper's recipe", "coco-benchmarking": "the recipe of the benchmark"}


def write_suite(root, state, one_protocol=False):
    """A suite of two tasks of detection whose results both say 'coco', by recipe or data set.

    ``state``: (method, task) -> the status of its test with seed 0.
    """
    stages = []
    for (method, task), status in state.items():
        name = f"{method}/seed0/{task}/test"
        stage = dict(stage=name, method=method, task=task, seed=0, kind="test", status=status)
        stages.append(stage | dict(log=f"{name}/log.txt"))
        if status == "complete":
            apart = dict(protocol=dict(task="coco", recipe=task))
            if one_protocol:
                apart = dict(data=dict(name=task, manifest_sha256=str(len(task) % 10) * 64))
            write(root, method, 0, 50.0 + len(stages), folder=name, task="coco", **apart)
    suite = dict(
        suite="s", methods=["ours", "theirs"], tasks=list(NOTES), notes=NOTES, stages=stages
    )
    suite["comparisons"] = [["ours", "theirs"]]
    (root / "suite.json").write_text(json.dumps(suite))
    return asked_board(root, read_asked(root), resamples=0)


FAILED = {
    ("ours", "coco"): "complete",
    ("ours", "coco-benchmarking"): "failed",
    ("theirs", "coco"): "complete",
    ("theirs", "coco-benchmarking"): "complete",
}


def test_each_task_keeps_its_column_notes_comparison_and_what_is_absent(tmp_path):
    board = write_suite(tmp_path, FAILED)
    assert board.tasks == ("coco", "coco-benchmarking") and board.notes == NOTES
    log = "ours/seed0/coco-benchmarking/test/log.txt"
    assert board.absent == (Absent("ours", "coco-benchmarking", 0, kind="failed", log=log),)
    named = {group.task: group.protocol["recipe"] for group in board.groups}
    assert named == {"coco": "coco", "coco-benchmarking": "coco-benchmarking"}
    found = overview(board)
    assert [column.task for column in found.columns] == list(NOTES)
    ours, theirs = ([entry.told() for entry in line.entries] for line in found.lines)
    assert ours == ["51.00 (n = 1)", "1 seed failed"]
    assert theirs == ["53.00 (n = 1)", "54.00 (n = 1)"]
    assert [item.task for item in board.comparisons] == ["coco"]


def test_what_was_not_asked_in_one_is_not_asked_there_alone(tmp_path):
    state = {key: "complete" for key in FAILED if key != ("ours", "coco-benchmarking")}
    board = write_suite(tmp_path, state)
    assert board.not_asked == (("ours", "coco-benchmarking"),)
    ours, theirs = ([entry.told() for entry in line.entries] for line in overview(board).lines)
    assert ours[1] == "not asked" and "not asked" not in theirs


@pytest.mark.parametrize("done", list(NOTES))
def test_a_task_without_results_yet_is_not_taken_for_the_other(tmp_path, done):
    state = {key: "complete" if key[1] == done else "to run" for key in FAILED}
    board = write_suite(tmp_path, state)
    assert board.tasks == tuple(NOTES) and board.notes == NOTES
    (lacking,) = {item.task for item in board.absent}
    assert {lacking, *(group.task for group in board.groups)} == set(NOTES)
    assert lacking != done


def test_one_protocol_on_two_data_sets_is_told_apart_too(tmp_path):
    board = write_suite(tmp_path, dict.fromkeys(FAILED, "complete"), one_protocol=True)
    assert len({group.fingerprint for group in board.groups}) == 1
    assert {group.task: group.data for group in board.groups} == {name: name for name in NOTES}
    assert sorted(item.task for item in board.comparisons) == sorted(NOTES)


def test_a_trial_has_the_name_of_its_task(tmp_path):
    write_suite(tmp_path, FAILED)
    name = "ours/seed0/coco-benchmarking/trial0/test"
    held_out = dict(task="coco", test_data=dict(part="held out"))
    write(tmp_path, "ours", folder=name, task="coco", protocol=held_out)
    suite = json.loads((tmp_path / "suite.json").read_text())
    stage = dict(stage=name, method="ours", task="coco-benchmarking", seed=0, kind="test")
    suite["stages"].append(stage | dict(status="complete", log=None, trial=0, settings={"a": 1}))
    (tmp_path / "suite.json").write_text(json.dumps(suite))
    (trial,) = asked_board(tmp_path, read_asked(tmp_path), resamples=0).trials
    assert trial.task == "coco-benchmarking"
