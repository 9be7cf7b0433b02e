"""What a suite asked for, read from its ``suite.json``: order, comparisons, what has no result."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import jsonschema

from semaim_mm.data.prepare.overlap import Overlap
from semaim_mm.errors import InputError
from semaim_mm.leaderboard.chain import with_suites_commands
from semaim_mm.leaderboard.intervals import RESAMPLES
from semaim_mm.leaderboard.model import Absent, Leaderboard
from semaim_mm.leaderboard.plan import plan_of
from semaim_mm.leaderboard.table import leaderboard
from semaim_mm.leaderboard.task_names import with_suites_names

FILE_NAME = "suite.json"
KINDS = ("pretrain", "train", "test")
STATUSES = ("complete", "failed", "interrupted", "waits", "running", "to run")
NAMES = {"type": "array", "items": {"type": "string", "minLength": 1}, "uniqueItems": True}
STAGE = {
    "type": "object",
    "required": ["stage", "method", "task", "seed", "kind", "status", "log"],
    "properties": {
        "stage": {"type": "string"},
        "method": {"type": "string"},
        "task": {"type": "string"},
        "seed": {"type": "integer"},
        "kind": {"enum": list(KINDS)},
        "status": {"enum": list(STATUSES)},
        "log": {"type": ["string", "null"]},
        "seconds": {"type": ["number", "null"]},
        "trial": {"type": ["integer", "null"]},
        "settings": {"type": ["object", "null"]},
    },
}
SCHEMA = {
    "type": "object",
    "required": ["suite", "methods", "tasks", "comparisons", "stages"],
    "properties": {
        "suite": {"type": "string"},
        "methods": NAMES,
        "tasks": NAMES,
        "seeds": {"type": "array", "items": {"type": "integer"}},
        "comparisons": {
            "type": "array",
            "items": {
                "type": "array",
                "items": {"type": "string"},
                "minItems": 2,
                "maxItems": 2,
            },
        },
        "notes": {"type": "object", "additionalProperties": {"type": "string"}},
        "truth": {"type": "object", "additionalProperties": {"type": "string"}},
        "stages": {"type": "array", "items": STAGE},
    },
}


@dataclass(frozen=True)
class Asked:
    """A suite as far as its table needs it. ``absent`` has the suite's own names of tasks.

    ``task_of``: folder of a test's result, relative to the suite's -> the suite's name of its task.
    """

    suite: str = ""
    methods: tuple[str, ...] = ()
    tasks: tuple[str, ...] = ()
    comparisons: tuple[tuple[str, str], ...] = ()
    notes: Mapping[str, str] = field(default_factory=dict)
    truth: Mapping[str, str] | None = None
    absent: tuple[Absent, ...] = ()
    stages: tuple[Mapping[str, Any], ...] = ()

    @property
    def task_of(self) -> dict[str, str]:
        return {s["stage"]: s["task"] for s in self.stages if s["kind"] == "test"}

    @property
    def outdated(self) -> dict[str, str]:
        """Folder of a test's result -> the state of its stage, where that is not complete now."""
        tests = (s for s in self.stages if s["kind"] == "test" and s["status"] != "complete")
        return {s["stage"]: s["status"] for s in tests}

    @property
    def settings_of(self) -> dict[str, Mapping[str, Any]]:
        """Folder of a trial's result, relative to the suite's -> the settings that it tried."""
        return {s["stage"]: s["settings"] for s in self.stages if s.get("settings")}


def read_asked(results: str | Path) -> Asked | None:
    """A folder of results -> what its suite asked for; None where no suite wrote it.

    Raises:
        InputError: a ``suite.json`` that can't be read, or isn't one.
    """
    path = Path(results) / FILE_NAME
    if not path.is_file():
        return None
    try:
        found = json.loads(path.read_text())
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(
            f"{path} can't be read ({error}); run the suite again, or delete the file to have a "
            "table without what the suite asked for."
        ) from error
    faults = sorted(jsonschema.Draft202012Validator(SCHEMA).iter_errors(found), key=str)
    if faults:
        where = "/".join(map(str, faults[0].absolute_path)) or "the top"
        raise InputError(
            f"{path} is no record of a suite: {faults[0].message[:300]} (at {where}). Run the "
            "suite again, or delete the file."
        )
    return Asked(
        suite=found["suite"],
        methods=tuple(found["methods"]),
        tasks=tuple(found["tasks"]),
        comparisons=tuple((first, second) for first, second in found["comparisons"]),
        notes=found.get("notes") or {},
        # paths are relative to the suite's folder
        truth={k: str(path.parent / v) for k, v in (found.get("truth") or {}).items()} or None,
        absent=tuple(absent_of(found["stages"])),
        stages=tuple(found["stages"]),
    )


def absent_of(stages: Sequence[Mapping[str, Any]]) -> list[Absent]:
    """A suite's stages -> every method, task and seed whose test is not complete.

    'failed' with its log where the test, the training before it, a trial of its sweep or the
    pretraining failed.
    """
    failed: dict[tuple[str, str, int], Mapping[str, Any]] = {}
    for stage in stages:
        if stage["status"] == "failed":
            failed.setdefault((stage["method"], stage["task"], stage["seed"]), stage)
    pretrainings = {
        (stage["method"], stage["seed"]): stage
        for stage in failed.values()
        if stage["kind"] == "pretrain"
    }
    trials = {
        (stage["method"], stage["task"]): stage
        for stage in failed.values()
        if stage.get("trial") is not None
    }
    found = []
    for stage in stages:
        tested = stage["kind"] == "test" and stage.get("trial") is None
        if not tested or stage["status"] == "complete":
            continue
        method, task, seed = stage["method"], stage["task"], stage["seed"]
        cause = pretrainings.get((method, seed)) or failed.get((method, task, seed))
        cause = cause or trials.get((method, task))
        if cause is None:
            found.append(Absent(method, task, seed))
        else:
            found.append(Absent(method, task, seed, kind="failed", log=cause["log"]))
    return found


def asked_board(
    results: str | Path,
    asked: Asked | None = None,
    resamples: int = RESAMPLES,
    overlaps: Sequence[Overlap] | None = None,
    truth: Mapping[str, str | Path] | None = None,
) -> Leaderboard:
    """A folder of results and what was asked for -> its leaderboard, tasks under one name.

    ``truth``: COCO annotation files as ``leaderboard`` takes them, beside those that the suite
    names.

    Raises:
        InputError: no such folder, a comparison that can't be made.
    """
    if asked is None:
        return leaderboard(results, truth=truth, resamples=resamples, overlaps=overlaps)
    board = leaderboard(
        results,
        asked.comparisons,
        truth={**(asked.truth or {}), **(truth or {})},
        resamples=resamples,
        overlaps=overlaps,
        outdated=asked.outdated,
        plan=plan_of(results, asked.stages, asked.comparisons),
    )
    board = with_suites_commands(board, Path(results), asked.stages)
    board = with_suites_names(board, asked.tasks, asked.task_of)
    names = names_of_tasks(board, asked)
    return replace(
        board,
        suite=asked.suite,
        methods=asked.methods,
        tasks=tuple(dict.fromkeys(name for task in asked.tasks for name in names[task])),
        # a result calls its task by the leaf's name, which need not be the suite's
        absent=tuple(replace(item, task=names[item.task][0]) for item in asked.absent),
        notes={name: text for task, text in asked.notes.items() for name in names.get(task, ())},
        not_asked=tuple(not_asked(asked, names)),
        trials=tuple(
            replace(item, settings=asked.settings_of.get(item.path.rpartition("/")[0], {}))
            for item in board.trials
        ),
    )


def not_asked(asked: Asked, names: Mapping[str, Sequence[str]]) -> list[tuple[str, str]]:
    """-> (method, task as ``names`` has it) of all that no stage of the suite was to test."""
    tests = [s for s in asked.stages if s["kind"] == "test" and s.get("trial") is None]
    wanted = {(s["method"], name) for s in tests for name in names[s["task"]]}
    tasks = dict.fromkeys(name for task in asked.tasks for name in names[task])
    return [(m, task) for m in asked.methods for task in tasks if (m, task) not in wanted]


def names_of_tasks(board: Leaderboard, asked: Asked) -> dict[str, list[str]]:
    """The suite's tasks -> what their results call them; the suite's own name without any."""
    found: dict[str, list[str]] = {}
    task_of = asked.task_of
    for group in board.groups:
        for run in (run for row in group.rows for run in row.runs):
            task = task_of.get(run.path.rpartition("/")[0])
            if task is not None and group.task not in found.setdefault(task, []):
                found[task].append(group.task)
    named = {*asked.tasks, *task_of.values()}
    return {task: found.get(task, [task]) for task in named}
