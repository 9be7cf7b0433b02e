"""Scores of a leaderboard's pretrainings, kept apart as its rows are."""

from collections.abc import Mapping

import numpy as np

from semaim_mm.arch import depth_of
from semaim_mm.leaderboard.model import Group, Leaderboard, Row
from semaim_mm.leaderboard.scores import apart

# what tells pretrainings of one method apart; how a checkpoint was selected is the task's matter
FIELDS = ("arch", "epochs", "pretrained_on")
Scores = Mapping[str, Mapping[int, float]]  # by a pretraining's name and seed
Pretraining = tuple  # method and FIELDS


def pretraining_of(row: Row) -> Pretraining:
    """A row -> what it is a score of, seeds apart.

    Of ``arch`` the patch size doesn't count: weights of patches of 14 are resized for dense tasks.
    """
    size, *rest = (getattr(row, field) for field in FIELDS)
    return (row.method, size.partition("/")[0], *rest)


def names_of(board: Leaderboard) -> dict[Pretraining, str]:
    """-> every pretraining's name: its method, and what tells it from others of that method."""
    rows: dict[str, dict[Pretraining, Row]] = {}
    for row in (row for group in board.groups for row in group.rows):
        rows.setdefault(row.method, {}).setdefault(pretraining_of(row), row)
    return {
        pretraining: ", ".join((method, *apart(row, list(alike.values()), FIELDS)))
        for method, alike in rows.items()
        for pretraining, row in alike.items()
    }


def scores_of(group: Group, names: Mapping[Pretraining, str]) -> tuple[Scores, list[str]]:
    """A group -> its headline score by name and pretraining seed, and the names left out.

    Finetunings of a pretraining are averaged. A row that the leaderboard does not rank has no score
    here either.
    """
    found: dict[str, dict[int, list[float]]] = {}
    for row in (row for row in group.rows if row.doubt is None):
        by_seed = found.setdefault(names[pretraining_of(row)], {})
        for run in row.runs:
            seed = -1 if run.pretraining_seed is None else run.pretraining_seed
            by_seed.setdefault(seed, []).append(run.scores[group.headline])
    scores = {n: {s: float(np.mean(v)) for s, v in seeds.items()} for n, seeds in found.items()}
    return scores, sorted({names[pretraining_of(row)] for row in group.rows if row.doubt})


def met_on_one_side(cheap: Scores, dense: Scores, names: Mapping[Pretraining, str]) -> str | None:
    """-> names of methods with both scores, but each of another pretraining, in a sentence."""
    method_of = {name: pretraining[0] for pretraining, name in names.items()}
    both = {method_of.get(n) for n in cheap} & {method_of.get(n) for n in dense}
    alone = sorted(n for n in cheap.keys() ^ dense.keys() if method_of.get(n) in both)
    return f"Left out, without both scores: {'; '.join(alone)}" if alone else None


def trains_no_backbone(group: Group) -> bool:
    """Whether a group judges backbones as they are: by features, or a probe that is trained.

    A training is a probe's where it freezes all blocks of every row's backbone.
    """
    if not group.protocol.get("training"):
        return True
    frozen = (group.protocol.get("backbone") or {}).get("frozen_stages", -1)
    depths = [depth_of(row.arch) for row in group.rows]
    return all(depth is not None and frozen >= depth for depth in depths)
