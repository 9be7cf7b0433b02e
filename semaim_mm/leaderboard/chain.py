"""The commands before a result's own: those of its pretraining and its training on the task."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from semaim_mm.leaderboard.model import Leaderboard
from semaim_mm.leaderboard.provenance import PRETRAINING, TRAINING, Run, stage_record, text_of

KINDS = {"pretrain": PRETRAINING, "train": TRAINING}  # as a suite calls them


def with_suites_commands(
    board: Leaderboard, root: Path, stages: Sequence[Mapping[str, Any]]
) -> Leaderboard:
    """A leaderboard -> the same, with what a suite ran before each result.

    The records beside the suite's stages tell it, also where the checkpoints themselves do not.
    """
    tests = {stage["stage"]: stage for stage in stages if stage["kind"] == "test"}

    def filled(run: Run) -> Run:
        test = tests.get(run.path.rpartition("/")[0])
        if test is None:
            return run
        told = {
            KINDS[stage["kind"]]: text_of(stage_record(root / stage["stage"]).get("command"))
            for stage in stages
            if stage["kind"] in KINDS and _leads_to(stage, test)
        }
        return replace(
            run, chain={what: line or told.get(what) for what, line in run.chain.items()}
        )

    groups = []
    for group in board.groups:
        rows = [replace(row, runs=tuple(map(filled, row.runs))) for row in group.rows]
        groups.append(replace(group, rows=tuple(rows)))
    return replace(board, groups=tuple(groups))


def _leads_to(stage: Mapping[str, Any], test: Mapping[str, Any]) -> bool:
    same = ["method", "seed"] + ["task"] * (stage["kind"] == "train")
    return stage.get("trial") is None and all(stage[key] == test[key] for key in same)
