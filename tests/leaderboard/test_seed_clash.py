"""Seeds that contradict each other keep their row in the table, without a rank, and say why."""

from __future__ import annotations

import pytest
from result_files import finetuned, weights, write

from semaim_mm.leaderboard.model import Row
from semaim_mm.leaderboard.table import leaderboard


def rows_of(root) -> tuple[Row, ...]:
    (group,) = leaderboard(root, resamples=0).groups
    return group.rows


def test_different_checkpoints_that_claim_one_seed_are_shown_and_not_ranked(tmp_path):
    write(tmp_path, "good", score=10.0)
    write(tmp_path, "twice", score=90.0)
    write(tmp_path, "twice", score=90.0, folder="again", checkpoint=weights("another", 0))
    rows = rows_of(tmp_path)
    assert [(row.method, row.rank) for row in rows] == [("good", 1), ("twice", None)]
    assert "claim the pretraining seed 0" in rows[1].doubt


@pytest.mark.parametrize(
    ("told", "doubted"),
    [
        ((dict(recipe_sha256="a"), dict(recipe_sha256="b")), True),
        ((dict(made_by="a"), dict(made_by="b")), True),
        ((dict(recipe_sha256="a"), dict(recipe_sha256="a")), False),
        ((dict(recipe_digest="a"), dict(recipe_digest="b")), True),
        ((dict(recipe_digest="a"), dict(recipe_digest="a")), False),
        ((dict(made_by="a"), dict(recipe_sha256="b")), False),
        ((dict(recipe_sha256="a"), dict(recipe_digest="b")), False),
        ((dict(made_by="a"), dict(made_by="a"), dict(recipe_digest="b")), False),
        ((dict(recipe_sha256={}), dict(recipe_sha256=[])), False),
    ],
)
def test_seeds_of_different_recipes_are_shown_and_not_ranked(tmp_path, told, doubted):
    for seed, more in enumerate(told):
        start = weights(f"ours {seed}", seed)
        start["origin"] |= more
        write(tmp_path, seed=seed, checkpoint=start)
    (found,) = [row.doubt for row in rows_of(tmp_path)]
    assert ("pretrained by 2 different configs" in (found or "")) == doubted


def test_different_finetunings_that_claim_one_seed_are_not_ranked(tmp_path):
    changes = finetuned("m", 0, 1)
    write(tmp_path, **changes)
    again = {**changes["checkpoint"], "sha256": "f" * 64}
    write(tmp_path, **{**changes, "folder": "again", "checkpoint": again})
    (row,) = rows_of(tmp_path)
    assert "claim the finetuning of" in row.doubt
