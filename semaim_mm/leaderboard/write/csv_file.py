"""The leaderboard as CSV: one line a row and metric, every number whole, for pandas and sheets."""

import csv
import io
from collections.abc import Iterator
from typing import Any

from semaim_mm.leaderboard.intervals import Interval
from semaim_mm.leaderboard.model import Leaderboard
from semaim_mm.leaderboard.write.cost import KINDS, cost_of
from semaim_mm.leaderboard.write.overview import ordered_groups
from semaim_mm.leaderboard.write.rows import marks, settings
from semaim_mm.leaderboard.write.text import clean

# what a spreadsheet takes for the beginning of a formula
FORMULA = ("=", "+", "-", "@", "\t", "\r", "＝", "＋", "－", "＠", "|", "%")
SPANS = ("n", "sd", "low", "high")
FIELDS = (
    *("kind", "task", "fingerprint", "data", "rank", "method", "arch", "selection"),
    "pretrained_on",
    *("pretraining_epochs", *(f"pretraining_{kind}" for kind in KINDS[1:])),
    *("metric", "unit", "headline", "value"),
    *(f"over_pretraining_seeds_{name}" for name in (*SPANS, "spread")),
    *(f"over_test_images_these_weights_{name}" for name in SPANS),
    *("seed", "second_hand", "notes", "source"),
    # of a comparison: the method that is subtracted, and what the seeds say of the difference
    *("minus", "p", "p_corrected", "smallest_detectable"),
)


def csv_text(board: Leaderboard) -> str:
    """A leaderboard -> CSV with a header; ``kind`` tells measured from published and the rest.

    A comparison's ``value`` is ``method`` less ``minus``. A task's note stands on all of its rows.
    """
    out = io.StringIO()
    writer = csv.DictWriter(out, FIELDS, lineterminator="\n")
    writer.writeheader()
    for line in (*_measured(board), *_compared(board), *_beside(board)):
        writer.writerow({name: safe(value) for name, value in line.items()})
    return out.getvalue()


def safe(value: Any) -> Any:
    """A number as it is; a text on one line, and never one that a spreadsheet would run."""
    if isinstance(value, bool):
        return str(value).lower()
    if value is None or isinstance(value, int | float):
        return value
    shown = clean(value)
    return f"'{shown}" if shown.startswith(FORMULA) else shown


def _measured(board: Leaderboard) -> Iterator[dict[str, Any]]:
    for group in ordered_groups(board):
        said = board.notes.get(group.task)
        for row in group.rows:
            notes = [*([said] if said else []), *marks(row)]
            cost = dict(zip(KINDS, cost_of(row).values(), strict=True))
            for name in group.metrics:
                if name not in row.cells:
                    continue
                cell = row.cells[name]
                yield dict(
                    kind=row.kind,
                    task=group.task,
                    fingerprint=group.fingerprint,
                    data=group.data,
                    rank=row.rank,
                    method=row.method,
                    arch=row.arch,
                    selection=row.selection,
                    pretrained_on=row.pretrained_on,
                    **{f"pretraining_{kind}": value for kind, value in cost.items()},
                    metric=name,
                    unit=cell.unit,
                    headline=name == group.headline,
                    value=cell.value,
                    **_seeds(cell.over_pretraining),
                    **_span("over_test_images_these_weights", cell.over_images),
                    notes="; ".join(notes),
                    source="; ".join(run.path for run in row.runs),
                )


def _compared(board: Leaderboard) -> Iterator[dict[str, Any]]:
    for item in board.comparisons:
        seeds = item.over_pretraining
        yield dict(
            kind="comparison",
            task=item.task,
            fingerprint=item.fingerprint,
            method=item.first,
            minus=item.second,
            arch=item.arch,
            metric=item.metric,
            value=None if seeds is None else seeds.value,
            **_seeds(seeds),
            **_span("over_test_images_these_weights", item.over_images),
            p=item.p,
            p_corrected=item.corrected,
            smallest_detectable=item.detectable,
            notes=item.verdict,
        )


def _beside(board: Leaderboard) -> Iterator[dict[str, Any]]:
    for item in board.published:
        yield dict(
            kind=item.kind,
            task=item.task,
            method=item.method,
            arch=item.arch,
            pretraining_epochs=item.epochs,
            metric=item.metric,
            unit="percent",
            value=item.value,
            second_hand=item.second_hand,
            notes=item.protocol,
            source=item.source,
        )
    for item in board.trials:
        yield dict(
            kind=item.kind,
            task=item.task,
            method=item.method,
            metric=item.metric,
            unit=item.unit,
            value=item.value,
            seed=item.seed,
            notes=settings(item),
            source=item.path,
        )
    for item in board.absent:
        yield dict(
            kind=item.kind, task=item.task, method=item.method, seed=item.seed, source=item.log
        )
    for item in board.excluded:
        yield dict(kind=item.kind, notes=item.reason, source=item.path)


def _seeds(interval: Interval | None) -> dict[str, Any]:
    """``spread`` says whether the interval has that of a training on top of pretraining in it."""
    name = "over_pretraining_seeds"
    return _span(name, interval) | ({f"{name}_spread": interval.over} if interval else {})


def _span(name: str, interval: Interval | None) -> dict[str, Any]:
    return {f"{name}_{part}": getattr(interval, part) for part in SPANS} if interval else {}
