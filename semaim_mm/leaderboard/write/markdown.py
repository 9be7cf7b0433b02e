"""The leaderboard as GitHub-flavoured Markdown: a table a protocol, the rest apart."""

import re
from collections.abc import Iterable, Sequence

from semaim_mm.leaderboard.compare import Difference
from semaim_mm.leaderboard.model import Group, Leaderboard
from semaim_mm.leaderboard.write.cost import TITLES, cost_of
from semaim_mm.leaderboard.write.overview import caveats, ordered_groups, overview
from semaim_mm.leaderboard.write.rows import (
    IN_A_TABLE,
    compared,
    labels,
    marks,
    settings,
    shown_metrics,
)
from semaim_mm.leaderboard.write.text import (
    NONE,
    clean,
    p_value,
    plural,
    score,
    span,
    unit_of,
)

# what can mean something inside a line; the rest does so at its beginning, where no name stands
PUNCTUATION = re.compile(r"([\\`*_{}\[\]#|~$])")
LONGEST = 80  # of a name
OVERVIEW_NOTE = (
    "Headline figures: the mean over pretraining seeds ± half its 95 % interval. A column is one "
    "protocol on one data set; nothing here is ranked across columns."
)
GROUP_NOTE = (
    "Ranks order the means and claim no more. Intervals are 95 %: over pretraining seeds by "
    "Student's t; over test images, with these weights, by the bootstrap."
)
COMPARISON_NOTE = (
    "Declared before anything was run; paired over pretraining seeds, p corrected after Holm over "
    "all declared tests, also those without results yet; none is made before its declared seeds "
    "are there. "
    "Nothing else on this page is called better."
)
TRIALS_NOTE = (
    "Every method got the same settings to try, on images held out of the training set; the best "
    "of each were used for what stands above. None of these is ranked."
)
PUBLISHED_NOTE = (
    "Read in the literature, under protocols of their own, so none of these is in a ranking above. "
    "Second-hand: the source quotes somebody else's number."
)


def markdown(board: Leaderboard) -> str:
    """A leaderboard -> a Markdown document."""
    parts = [f"# Leaderboard{f': {escape(board.suite)}' if board.suite else ''}"]
    parts += ["## Overview", OVERVIEW_NOTE, escape(caveats(board), 2000), _overview(board)]
    parts.append("\n".join(f"- {escape(k)}: {escape(v, 400)}" for k, v in board.notes.items()))
    if board.comparisons:
        parts += ["## Declared comparisons", COMPARISON_NOTE, _comparisons(board.comparisons)]
    parts += ["## Measured, by protocol", GROUP_NOTE]
    for group in ordered_groups(board):
        parts += _group(group, board.notes.get(group.task))
    if not board.groups:
        parts.append("No result counts yet.")
    parts += ["## Published", PUBLISHED_NOTE, _published(board)]
    if board.trials:
        header = ("method", "task", "seed", "settings", "metric", "value", "images")
        rows = [
            (t.method, t.task, t.seed, settings(t), t.metric, score(t.value), t.images)
            for t in board.trials
        ]
        parts += ["## Trials of the sweep", TRIALS_NOTE, table(header, rows)]
    if board.absent:
        header = ("method", "task", "seed", "state", "log")
        rows = [
            (clean(a.method, LONGEST), clean(a.task, LONGEST), a.seed, a.kind, a.log or NONE)
            for a in board.absent
        ]
        parts += ["## Failed and not run", table(header, rows, longest=400)]
    if board.excluded:
        rows = [(item.path, clean(item.reason)) for item in board.excluded]
        parts += ["## Excluded files", table(("file", "reason"), rows, longest=400)]
    return "\n\n".join(part for part in parts if part) + "\n"


def escape(text: object, longest: int = LONGEST) -> str:
    """Any text -> one line that Markdown shows as it is: no markup, HTML, link or mention."""
    shown = PUNCTUATION.sub(r"\\\1", clean(text, longest))
    shown = shown.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    # what GitHub makes links and mentions of by itself
    shown = shown.replace("@", "&#64;").replace("://", "&#58;//")
    return re.sub("www\\.", lambda found: f"{found.group()[:3]}&#46;", shown, flags=re.IGNORECASE)


def table(
    header: Sequence[object], rows: Iterable[Sequence[object]], longest: int = LONGEST
) -> str:
    """Cells of any text -> a table."""
    lines = [header, *rows]
    told = [" | ".join(escape(cell, longest) for cell in line) for line in lines]
    told.insert(1, " | ".join("---" for _ in header))
    return "\n".join(f"| {line} |" for line in told)


def _overview(board: Leaderboard) -> str:
    found = overview(board)
    header = ["method", "arch", "epochs", "FLOPs"]
    for column in found.columns:
        header.append(f"{clean(column.task, 40)}: {column.about}")
    rows = []
    for line in found.lines:
        epochs, _, flops, _ = line.cost.told() if line.cost else (NONE,) * 4
        told = (entry.told() for entry in line.entries)
        rows.append((line.label(LONGEST), line.arch or NONE, epochs, flops, *told))
    return table(header, rows, 2 * LONGEST + 4) if rows else ""


def _group(group: Group, said: str | None) -> list[str]:
    unit, others = unit_of(group.metrics[group.headline]), shown_metrics(group)[1:]
    header = ["rank", "method", "arch", *TITLES, "seeds", f"{group.headline} ({unit})"]
    header += ["sd", "over pretraining seeds", "over test images, these weights", *others]
    rows, notes = [], []
    for row, label in zip(group.rows, labels(group.rows, LONGEST, IN_A_TABLE), strict=True):
        cell = row.cells[group.headline]
        seeds, told = cell.over_pretraining, marks(row)
        numbers = [notes.index(note) + 1 for note in told if note in notes]
        for note in told:
            if note not in notes:
                notes.append(note)
                numbers.append(len(notes))
        name = label + "".join(f" ({number})" for number in sorted(numbers))
        arch = clean(row.arch, LONGEST)
        rows.append(
            [row.rank or NONE, name, arch, *cost_of(row).told(), seeds.n, score(cell.value)]
            + [score(seeds.sd), span(seeds), span(cell.over_images)]
            + [score(row.cells[name].value if name in row.cells else None) for name in others]
        )
    about = (
        f"Protocol {escape(group.fingerprint)} on {escape(group.data)}; "
        f"{plural(len(group.rows), 'row')}."
    )
    listed = "\n".join(f"- ({number}) {escape(note, 300)}" for number, note in enumerate(notes, 1))
    shown = table(header, rows, 2 * LONGEST + 16)
    return [f"### {escape(group.task)}", about, escape(said or "", 400), shown, listed]


def _comparisons(found: Iterable[Difference]) -> str:
    header = ("first", "second", "task", "protocol", "metric", "difference")
    header += ("over pretraining seeds", "over test images, these weights")
    header += ("pairs", "p", "corrected p", "smallest detectable", "verdict")
    rows = []
    for item in found:
        seeds = item.over_pretraining
        told = (compared(item), item.second, item.task or NONE, item.fingerprint[:8] or NONE)
        told += (item.metric or NONE, score(seeds.value if seeds else None, sign=True))
        told += (span(seeds, sign=True), span(item.over_images, sign=True), len(item.pairs))
        told += (p_value(item.p), p_value(item.corrected), score(item.detectable), item.verdict)
        rows.append(told)
    return table(header, rows, longest=400)


def _published(board: Leaderboard) -> str:
    header = ("method", "arch", "epochs", "task", "metric", "value", "source", "", "protocol")
    rows = []
    for item in board.published:
        second_hand = "second-hand" if item.second_hand else ""
        told = (item.method, item.arch, item.epochs or NONE, item.task, item.metric)
        rows.append(
            (*told, f"{item.value:g}", item.source, second_hand, item.protocol or "not stated")
        )
    return table(header, rows, longest=200)
