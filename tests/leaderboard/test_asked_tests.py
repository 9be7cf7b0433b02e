"""A suite's declared tests are counted, and its seeds awaited, whenever somebody looks."""

from __future__ import annotations

import json

import pytest
from result_files import write
from scipy import stats

from semaim_mm.leaderboard.asked import asked_board, read_asked
from semaim_mm.leaderboard.significance import smallest_difference
from semaim_mm.leaderboard.write.page import page

TASKS = ("knn", "linear", "coco")
SCORES = {"ours": [60.0, 61.5, 60.2], "theirs": [58.0, 59.1, 58.4], "third": [50.0, 51.0, 50.6]}
PAIRS = [["ours", "theirs"], ["ours", "third"]]
SHIFT = {"knn": 0.0, "linear": 5.0, "coco": 9.0}


def write_suite(root, done, without=(), seeds=3):
    """A suite of three methods, three tasks and two pairs.

    ``done``: (task, seed) whose tests are complete; ``without``: (method, task) not asked for.
    """
    stages = []
    for method, scores in SCORES.items():
        for task in (task for task in TASKS if (method, task) not in without):
            for seed in range(seeds):
                name = f"{method}/seed{seed}/{task}/test"
                there = (task, seed) in done
                stage = dict(stage=name, method=method, task=task, seed=seed, kind="test", log=None)
                stages.append(stage | dict(status="complete" if there else "to run"))
                trial = stage | dict(stage=f"{name}/trial", trial=0, status="to run")
                stages.append(trial)
                if there:
                    protocol = dict(task=task, evaluator=dict(type="KNN"), training=None)
                    score = scores[seed] + SHIFT[task]
                    changes = dict(task=task, protocol=protocol, folder=name)
                    write(root, method, seed, score, **changes)
    suite = dict(suite="s", methods=list(SCORES), tasks=list(TASKS), comparisons=PAIRS)
    (root / "suite.json").write_text(json.dumps(suite | dict(stages=stages)))
    return asked_board(root, read_asked(root), resamples=0)


def every(*tasks, seeds=3):
    return {(task, seed) for task in tasks for seed in range(seeds)}


def of(board, task, second="theirs"):
    (found,) = (d for d in board.comparisons if (d.task, d.second) == (task, second))
    return found


def test_all_declared_tests_count_before_their_results_are_there(tmp_path):
    board = write_suite(tmp_path, every("knn"))
    p = {d.second: d.p for d in board.comparisons}
    assert len(p) == 2 and p["theirs"] == pytest.approx(
        stats.ttest_rel(SCORES["ours"], SCORES["theirs"]).pvalue
    )
    low, high = sorted(p, key=p.get)
    assert of(board, "knn", low).corrected == pytest.approx(6 * p[low])
    corrected = max(6 * p[low], 5 * p[high])
    assert of(board, "knn", high).corrected == pytest.approx(min(1, corrected))
    for found in board.comparisons:
        size = smallest_difference(found.over_pretraining.sd, 3, 0.05 / 6)
        assert found.detectable == pytest.approx(size)
        assert " over 6 tests; " in found.verdict


def test_a_folder_without_a_suite_declared_nothing_and_tests_nothing(tmp_path):
    write_suite(tmp_path, every("knn"))
    (tmp_path / "suite.json").unlink()
    board = asked_board(tmp_path, read_asked(tmp_path), resamples=0)
    assert board.groups and board.comparisons == ()


def test_a_better_stays_when_further_results_come(tmp_path):
    told = {}
    for number, tasks in enumerate((TASKS[:1], TASKS[:2], TASKS)):
        board = write_suite(tmp_path / str(number), every(*tasks))
        for found in board.comparisons:
            told.setdefault((found.task, found.second), []).append(found)
    for later in told.values():
        corrected = [found.corrected for found in later]
        assert corrected == sorted(corrected, reverse=True)
        better = [found.better is not None for found in later]
        assert better == sorted(better)


def test_a_task_that_one_of_a_pair_is_not_asked_for_is_no_test(tmp_path):
    board = write_suite(tmp_path, every("knn"), without={("third", "coco"), ("theirs", "coco")})
    assert " over 4 tests; " in of(board, "knn").verdict


def test_nothing_is_called_better_before_all_declared_seeds_are_there(tmp_path):
    board = write_suite(tmp_path, every("knn") | every("linear", seeds=2))
    found = of(board, "linear")
    assert (found.p, found.corrected, found.detectable, found.better) == (None,) * 4
    assert found.verdict == (
        "ours differs from theirs by +2.20: nothing is called better before all 3 declared seeds "
        "are there (2 so far)."
    )
    assert [pair.seed for pair in found.pairs] == [0, 1] and found.over_pretraining.n == 2
    # what waits lends no test that is complete a smaller correction
    p = of(board, "knn").p, of(board, "knn", "third").p
    assert of(board, "knn").corrected == pytest.approx(max(6 * min(p), p[0] * (6 - (p[1] < p[0]))))
    assert page(board).count(">not tested</span>") == 2


def test_one_of_several_declared_seeds_is_awaited_too(tmp_path):
    found = of(write_suite(tmp_path, every("knn", seeds=1)), "knn")
    assert "before all 3 declared seeds are there (1 so far)" in found.verdict


def test_one_declared_seed_is_all_there_and_tests_nothing(tmp_path):
    found = of(write_suite(tmp_path, every("knn", seeds=1), seeds=1), "knn")
    assert found.verdict == "ours is +2.00 from theirs with one seed: nothing is tested."


def test_a_pair_without_results_is_told_and_counts_by_its_tests(tmp_path):
    lacking = {("third", task) for task in TASKS[:2]}
    board = write_suite(tmp_path, every("knn"), without=lacking)
    (found,) = (d for d in board.comparisons if d.second == "third")
    assert "have no results yet" in found.verdict
    assert " over 4 tests; " in of(board, "knn").verdict


def test_results_that_no_stage_asked_for_are_tested_as_they_are(tmp_path):
    for method in ("ours", "theirs"):
        for seed in range(2):
            protocol = dict(task="other", evaluator=dict(type="KNN"), training=None)
            changes = dict(task="other", protocol=protocol, folder=f"more/{method}{seed}")
            write(tmp_path, method, seed, SCORES[method][seed], **changes)
    board = write_suite(tmp_path, every("knn"))
    assert of(board, "other").corrected is not None
    assert " over 7 tests; " in of(board, "knn").verdict
