"""What a suite asked for: its order, its comparisons, and what has no result."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from boards import write_suite
from result_files import write

from semaim_mm.errors import InputError
from semaim_mm.leaderboard.asked import absent_of, asked_board, read_asked
from semaim_mm.leaderboard.model import Absent
from semaim_mm.leaderboard.write.csv_file import csv_text
from semaim_mm.leaderboard.write.markdown import markdown
from semaim_mm.leaderboard.write.page import page


def stage(kind, status="complete", method="m", task="coco", seed=0, log=None):
    return dict(
        stage=f"{method}/seed{seed}/{task}/{kind}",
        method=method,
        task="pretrain" if kind == "pretrain" else task,
        seed=seed,
        kind=kind,
        status=status,
        log=log,
    )


@pytest.fixture(scope="module")
def suite(tmp_path_factory):
    return write_suite(tmp_path_factory.mktemp("suite"))


@pytest.mark.parametrize("status", ["waits", "running", "to run"])
def test_a_test_that_is_not_complete_and_has_no_failure_before_it_is_not_run(status):
    stages = [stage("pretrain"), stage("train", status), stage("test", status)]
    assert absent_of(stages) == [Absent("m", "coco", 0)]


@pytest.mark.parametrize("culprit", [0, 1, 2])
def test_whichever_stage_failed_its_log_is_that_of_the_missing_result(culprit):
    stages = [stage("pretrain"), stage("train"), stage("test")]
    for later in stages[culprit:]:
        later["status"] = "waits"
    stages[culprit] |= dict(status="failed", log="the/log.txt")
    assert absent_of(stages) == [Absent("m", "coco", 0, kind="failed", log="the/log.txt")]


def test_another_seed_method_or_task_has_nothing_to_do_with_a_failure():
    stages = [
        stage("train", "failed", log="log"),
        stage("test", "waits", seed=1),
        stage("test", "waits", task="knn"),
        stage("test", "waits", method="other"),
        stage("test", "complete", method="third"),
    ]
    assert {item.kind for item in absent_of(stages)} == {"not run"}
    assert len(absent_of(stages)) == 3


def test_a_suite_gives_order_comparisons_and_what_is_absent(suite):
    asked = read_asked(suite)
    board = asked_board(suite, asked, resamples=0)
    assert (board.suite, board.methods) == ("tiny", ("ours", "theirs", "none"))
    assert {(d.first, d.second) for d in board.comparisons} == {("ours", "theirs")}
    assert board.absent == (
        Absent("none", "finetune", 1, kind="failed", log="m2/seed1/finetune/test/log.txt"),
        Absent("none", "finetune", 2),
    )


def test_tasks_have_the_names_that_their_results_give_them(suite):
    asked = read_asked(suite)
    asked = replace(asked, absent=(Absent("theirs", "nearest", 3),))
    board = asked_board(suite, asked, resamples=0)
    assert board.tasks == ("knn", "finetune")
    assert board.absent == (Absent("theirs", "knn", 3),)


def test_a_task_without_any_result_keeps_the_suites_name(tmp_path):
    found = dict(suite="s", methods=["m"], tasks=["coco"], comparisons=[])
    found["stages"] = [stage("test", "to run")]
    (tmp_path / "suite.json").write_text(json.dumps(found))
    board = asked_board(tmp_path, read_asked(tmp_path))
    assert board.tasks == ("coco",) and board.absent == (Absent("m", "coco", 0),)


def test_truth_reaches_the_intervals_over_images(suite, tmp_path, monkeypatch):
    seen = {}
    monkeypatch.setattr(
        "semaim_mm.leaderboard.table.Outcomes", lambda truth: seen.update(truth) or None
    )
    found = json.loads((suite / "suite.json").read_text()) | dict(truth=dict(coco="a.json"))
    (tmp_path / "suite.json").write_text(json.dumps(found))
    asked_board(tmp_path, read_asked(tmp_path))
    assert seen == dict(coco=str(tmp_path / "a.json"))


def test_a_folder_without_a_suite_has_a_table_too(tmp_path):
    write(tmp_path)
    assert read_asked(tmp_path) is None
    board = asked_board(tmp_path, None, resamples=0)
    assert len(board.groups) == 1 and board.suite == "" and board.absent == ()


def test_a_suite_json_that_is_no_json_is_named(tmp_path):
    (tmp_path / "suite.json").write_text('{"suite": "half')
    with pytest.raises(InputError, match=r"suite.json can't be read .* run the suite again"):
        read_asked(tmp_path)


@pytest.mark.parametrize(
    ("change", "where"),
    [
        (dict(methods="ours"), "methods"),
        (dict(comparisons=[["a"]]), "comparisons/0"),
        (dict(truth=dict(coco=3)), "truth/coco"),
        (dict(stages=[stage("test", "exploded")]), "stages/0/status"),
        (dict(stages=[{**stage("test"), "seed": "0"}]), "stages/0/seed"),
        (dict(stages=[{**stage("test"), "kind": "dance"}]), "stages/0/kind"),
    ],
)
def test_a_suite_json_of_another_form_is_named_with_the_place(suite, tmp_path, change, where):
    found = json.loads((suite / "suite.json").read_text()) | change
    (tmp_path / "suite.json").write_text(json.dumps(found))
    with pytest.raises(InputError, match=f"is no record of a suite: .* \\(at {where}\\)"):
        read_asked(tmp_path)


def test_a_suite_json_that_lacks_a_part_is_named(tmp_path):
    for text in ("[]", "{}"):
        (tmp_path / "suite.json").write_text(text)
        with pytest.raises(InputError, match="is no record of a suite"):
            read_asked(tmp_path)


def test_a_trial_is_published_and_ranked_nowhere(tmp_path):
    write(tmp_path, folder="m/seed0/coco/test", method="m", task="coco")
    for number, score in enumerate((10.0, 90.0)):
        held_out = dict(
            task="coco",
            training=dict(base_lr=number),
            test_data=dict(part=dict(share=0.1, held_out=True)),
        )
        folder = f"m/seed0/coco/trial{number}/test"
        write(tmp_path, folder=folder, method="m", task="coco", score=score, protocol=held_out)
    rows = [stage("pretrain"), stage("train"), stage("test")]
    for number, lr in enumerate((1e-4, 1e-3)):
        rows += [
            stage(kind) | dict(stage=f"m/seed0/coco/trial{number}/{kind}", trial=number)
            for kind in ("train", "test")
        ]
        rows[-1]["settings"] = {"base_lr": lr}
    content = dict(suite="s", methods=["m"], tasks=["coco"], comparisons=[], stages=rows)
    content["notes"] = {"coco": "one | note <b>"}
    (tmp_path / "suite.json").write_text(json.dumps(content))
    board = asked_board(tmp_path, read_asked(tmp_path), resamples=0)
    (group,) = board.groups
    assert [row.cells["top1"].value for row in group.rows] == [50.0]
    told = [(trial.settings, trial.value, trial.seed) for trial in board.trials]
    assert told == [({"base_lr": 0.0001}, 10.0, 0), ({"base_lr": 0.001}, 90.0, 0)]
    assert board.absent == ()
    text = markdown(board)
    assert "base\\_lr=0.001" in text and "coco: one \\| note &lt;b&gt;" in text
    assert "trial" in csv_text(board)
    html = page(board)
    assert "base_lr=0.001" in html and "one | note &lt;b&gt;" in html


def test_a_failed_trial_is_why_a_method_of_any_seed_has_no_result():
    rows = [
        stage("train", "failed", log="a.txt") | dict(stage="m/seed0/coco/trial0/train", trial=0),
        stage("test", "waits") | dict(stage="m/seed0/coco/trial0/test", trial=0),
        stage("test", "waits"),
        stage("test", "waits", seed=1),
    ]
    found = absent_of(rows)
    assert [(item.seed, item.kind, item.log) for item in found] == [
        (0, "failed", "a.txt"),
        (1, "failed", "a.txt"),
    ]
