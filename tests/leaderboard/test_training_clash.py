"""One fingerprint, trained in different ways: shown, and never ranked or compared."""

from __future__ import annotations

import re

import pytest
from result_files import finetuned, write

from semaim_mm.leaderboard.table import leaderboard
from semaim_mm.leaderboard.write.markdown import markdown


def trained(root, method, seed=0, score=50.0, **record):
    """A finetuning's result whose checkpoint says this of its training."""
    changes = finetuned(method, seed, seed)
    changes["checkpoint"]["origin"]["training"] = record
    write(root, score=score, **changes)


@pytest.mark.parametrize(
    ("first", "second", "words"),
    [
        (dict(precision="bf16"), dict(precision="fp32"), r"precision \(bf16, fp32\)"),
        (dict(batch_norm_batch=16), dict(batch_norm_batch=2), r"batch-norm batch \(16, 2\)"),
    ],
)
def test_rows_trained_in_different_ways_have_no_rank_and_say_why(tmp_path, first, second, words):
    trained(tmp_path, "a", **first)
    trained(tmp_path, "b", **second)
    board = leaderboard(tmp_path, resamples=0)
    (group,) = board.groups
    assert [row.rank for row in group.rows] == [None, None]
    for row in group.rows:
        assert re.search(words, row.doubt)
    assert "were trained on the task with different" in markdown(board)


def test_one_rows_seeds_trained_in_different_ways_have_no_rank_either(tmp_path):
    trained(tmp_path, "a", 0, precision="fp32")
    trained(tmp_path, "a", 1, precision="fp16")
    (row,) = leaderboard(tmp_path, resamples=0).groups[0].rows
    assert row.rank is None and "(fp16, fp32)" in row.doubt


def test_rows_trained_alike_or_without_a_record_are_ranked(tmp_path):
    for method, score in (("a", 50.0), ("b", 60.0)):
        trained(tmp_path, method, score=score, precision="fp32", batch_norm_batch=2)
    trained(tmp_path, "c", score=40.0)
    (group,) = leaderboard(tmp_path, resamples=0).groups
    assert [(row.method, row.rank) for row in group.rows] == [("b", 1), ("a", 2), ("c", 3)]


def test_a_declared_comparison_of_rows_trained_in_different_ways_is_not_tested(tmp_path):
    for seed in range(3):
        trained(tmp_path, "a", seed, 50.0 + seed, precision="bf16")
        trained(tmp_path, "b", seed, 40.0 + seed / 2, precision="fp32")
    (item,) = leaderboard(tmp_path, [("a", "b")], resamples=0).comparisons
    assert item.p is None and item.better is None and item.pairs == ()
    assert "(bf16, fp32)" in item.verdict
