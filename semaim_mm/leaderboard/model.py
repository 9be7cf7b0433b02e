"""The leaderboard as plain data: groups of rows that may be ranked, and what stands beside them.

Frozen dataclasses of strings, numbers, tuples and dicts: what any page, Markdown, CSV or TeX is
written from, and what ``as_json`` says in JSON.
"""

import json
from dataclasses import asdict, dataclass, field
from typing import Any

from semaim_mm.leaderboard.compare import Difference
from semaim_mm.leaderboard.intervals import Interval
from semaim_mm.leaderboard.provenance import Run
from semaim_mm.leaderboard.published import Published

SCHEMA_VERSION = "1.0"


@dataclass(frozen=True)
class Cell:
    """A row's score in a metric: the mean over pretrainings of the mean over their finetunings.

    The seeds' intervals are never pooled: ``over_fitting`` has one for every pretraining that was
    finetuned more than once. ``no_images`` says why there is no interval over images.
    """

    metric: str
    unit: str
    value: float
    over_pretraining: Interval
    over_fitting: tuple[Interval, ...]
    over_images: Interval | None
    no_images: str | None


@dataclass(frozen=True)
class Row:
    """A method's measured results under one protocol on one data set.

    ``rank`` orders scores and claims no more. ``single``: one pretraining, so nothing is known of
    the spread over seeds. ``doubt``: why the row is not ranked. ``epochs`` are of the pretraining,
    ``pretrained_on`` is its data where that is recorded.
    """

    method: str
    arch: str
    selection: str
    epochs: int | None
    fingerprint: str
    data: str
    cells: dict[str, Cell]
    runs: tuple[Run, ...]
    single: bool
    notes: tuple[str, ...] = ()
    doubt: str | None = None
    rank: int | None = None
    kind: str = "measured"
    pretrained_on: str | None = None


@dataclass(frozen=True)
class Group:
    """Rows that may be ranked: one task, protocol and data set. ``headline`` is ranked by.

    ``metrics``: names of all metrics that a row has, the headline first -> their units.
    """

    task: str
    fingerprint: str
    data: str
    manifest: str | None
    headline: str
    metrics: dict[str, str]
    protocol: dict[str, Any]
    decided_by: dict[str, Any] | None
    rows: tuple[Row, ...]


@dataclass(frozen=True)
class Absent:
    """What a specification asks for and no result shows: 'not run', or 'failed' with its log."""

    method: str
    task: str
    seed: int | None
    kind: str = "not run"
    log: str | None = None


@dataclass(frozen=True)
class Dropped:
    """A result file that doesn't count, and why, in a sentence."""

    path: str
    reason: str
    kind: str = "excluded"


@dataclass(frozen=True)
class Trial:
    """What a setting scored on held-out training images, when a sweep chose: never ranked."""

    method: str
    task: str
    seed: int | None
    settings: dict[str, Any]
    metric: str
    unit: str
    value: float
    images: int
    path: str
    kind: str = "trial"


@dataclass(frozen=True)
class Leaderboard:
    """All that a leaderboard shows. Paths are relative to the folder of results.

    ``suite``, ``methods``, ``tasks``, ``notes`` (sentences by task) and ``not_asked`` (pairs of
    method and task) are the specification's, '' and empty where there was none.
    """

    groups: tuple[Group, ...]
    comparisons: tuple[Difference, ...]
    published: tuple[Published, ...]
    absent: tuple[Absent, ...]
    excluded: tuple[Dropped, ...]
    suite: str = ""
    methods: tuple[str, ...] = ()
    tasks: tuple[str, ...] = ()
    notes: dict[str, str] = field(default_factory=dict)
    trials: tuple[Trial, ...] = ()
    not_asked: tuple[tuple[str, str], ...] = ()
    schema_version: str = SCHEMA_VERSION


def as_json(board: Leaderboard) -> dict[str, Any]:
    """A leaderboard -> dicts, lists, strings, finite numbers, true, false and null."""
    return json.loads(json.dumps(asdict(board), allow_nan=False))
