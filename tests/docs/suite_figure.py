"""The picture of what a suite measured, from its committed file alone.

``python tests/docs/suite_figure.py small`` reads ``docs/measured/suites/small.json``, which
measured_suite.py writes, and draws ``docs/images/suite-small.png``: a panel a task, a line a
method in the table's order, and the first task's score against what the pretraining cost. The
picture keeps the file's digest, by which a test knows it from that of another file.
"""

from __future__ import annotations

import argparse
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, MaxNLocator
from measured_suite import FOLDER, ROOT
from scipy.optimize import isotonic_regression

from semaim_mm.leaderboard.write.text import NONE, STEPS, clean, quantity

IMAGES = ROOT / "docs" / "images"
KEY = "sha256 of the measured file"  # in the picture's metadata
START = "random"  # the method that stands for no pretraining
COLOR, INK, QUIET, FAINT = "#6a2c8c", "#1b2030", "#667085", "#e4e7ec"
# inches; README shows about 100 pixels of each, sharp screens more
WIDTH, LINE, COST_HEIGHT, DPI = 9.0, 0.165, 2.35, 160
SHOWN = 0.75  # this share of the intervals would fit even around the outermost dot
SMALL = 7.5  # points
MEAN = dict(marker="o", ms=4.5, mew=1.1, mec=COLOR, mfc=COLOR, lw=0)
DOTS = dict(mean=MEAN, equal=MEAN | dict(marker="D", ms=4), alone=MEAN | dict(mfc="white"))
FLOPS = 2  # its place in a row's cost


class Shown(NamedTuple):
    """A column of the digest that is drawn: its place in a row's cells and its panel's title."""

    place: int
    title: str


def shown(found: dict[str, Any]) -> list[Shown]:
    """A digest -> the headline of each of its protocols, their first column."""
    first: dict[tuple[str, str], Shown] = {}
    columns = found["columns"]
    for place, column in enumerate(columns):
        task, fingerprint = column["task"], column["fingerprint"]
        same = {c["fingerprint"] for c in columns if c["task"] == task}
        title = f"{task}: {column['metric']}" + (f" · {fingerprint[:8]}" if len(same) > 1 else "")
        first.setdefault((task, fingerprint), Shown(place, title))
    return list(first.values())


def draw(found: dict[str, Any]) -> Figure:
    """A digest -> its figure: scores by task and method, and the first task's against the cost."""
    columns, rows = shown(found), found["rows"]
    height = 1.35 + LINE * (len(rows) + 1) + COST_HEIGHT
    figure = Figure(figsize=(WIDTH, height), dpi=DPI, facecolor="white", layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(title(found), fontsize=9, color=INK, x=0.01, ha="left", parse_math=False)
    grid = figure.add_gridspec(2, len(columns), height_ratios=(height - COST_HEIGHT, COST_HEIGHT))
    panels = [figure.add_subplot(grid[0, number]) for number in range(len(columns))]
    for axes, column in zip(panels, columns, strict=True):
        _scores(axes, column, rows)
        axes.set_yticks(range(len(rows)), [])
    names = [clean(row["method"], 24) for row in rows]
    panels[0].set_yticklabels(names, fontsize=8, color=INK, parse_math=False)
    _cost(figure.add_subplot(grid[1, :]), columns[0], rows)
    _legend(figure)
    return figure


def title(found: dict[str, Any]) -> str:
    """A digest -> what is drawn, of how much, over how many seeds."""
    cells = [i for row in found["rows"] for c in shown(found) for i in row["cells"][c.place]]
    counts = " or ".join(str(n) for n in sorted({interval["n"] for interval in cells}))
    name = f"Suite {found['suite']}"
    if found.get("absent"):
        whole = found["results"] + found["absent"]
        name += f" so far ({found['results']} of {whole} results)"
    return (
        f"{name}: %, with 95 % intervals over pretraining seeds, n = {counts}; "
        "axes of scores don't start at 0"
    )


def limits(intervals: Sequence[dict[str, Any]]) -> tuple[float, float]:
    """Intervals of a panel -> the ends of its axis: all dots, and room for most intervals.

    Those of two seeds are 12.7 standard errors to each side: the widest would flatten all others.
    """
    values = [i["value"] for i in intervals]
    halves = [i["high"] - i["value"] for i in intervals if i["high"] is not None]
    most = float(np.quantile(halves, SHOWN, method="inverted_cdf")) if halves else 0.0
    room = 1.1 * max(most, 0.08 * float(np.ptp(values))) or 1.0
    return min(values) - room, max(values) + room


def amount(text: str) -> float | None:
    """'3.17 T', as ``quantity`` writes it -> 3.17e12; None where nothing is known."""
    if text == NONE:
        return None
    number, _, prefix = text.partition(" ")
    return float(number) * {name: size for size, name in STEPS}.get(prefix, 1.0)


def flops_of(row: dict[str, Any]) -> float | None:
    """A row of the digest -> the FLOPs of its pretraining: 0 without one, None where unknown."""
    cost = row["cost"]
    if cost is None:
        return None
    return 0.0 if cost[0] == "none" else amount(cost[FLOPS])


def _style(axes: Axes) -> None:
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("bottom", "left"):
        axes.spines[side].set_color(QUIET)
    axes.tick_params(labelsize=SMALL, colors=QUIET, length=2.5)


def _dot(axes: Axes, x: float, y: float, interval: dict[str, Any]) -> None:
    # an interval may be narrower than its dot, so having none has a sign of its own
    what = "equal" if interval["n"] > 1 else "alone"
    what = "mean" if interval["low"] is not None else what
    axes.plot([x], [y], gid=what, zorder=4, **DOTS[what])


def _start(rows: Sequence[dict[str, Any]], place: int) -> float | None:
    """-> the untrained start's mean in a column."""
    cells = [cell for row in rows if row["method"] == START for cell in row["cells"][place]]
    return cells[0]["value"] if cells else None


def _scores(axes: Axes, column: Shown, rows: Sequence[dict[str, Any]]) -> None:
    _style(axes)
    axes.set_title(column.title, fontsize=8.5, color=INK, parse_math=False)
    axes.hlines(range(len(rows)), 0, 1, transform=axes.get_yaxis_transform(), color=FAINT, lw=0.6)
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)
    axes.xaxis.set_major_locator(MaxNLocator(5, steps=(1, 2, 5, 10)))
    cells = [row["cells"][column.place] for row in rows]
    known = [interval for cell in cells for interval in cell]
    if not known:
        return
    axes.set_xlim(*limits(known))
    start = _start(rows, column.place)
    if start is not None:
        axes.axvline(start, color=INK, ls="--", lw=0.8, zorder=2, gid="start")
    for line, cell in enumerate(cells):
        # several where checkpoints were selected differently
        places = line + 0.5 * (np.arange(len(cell)) - (len(cell) - 1) / 2) / max(1, len(cell))
        for y, interval in zip(places, cell, strict=True):
            _interval(axes, y, interval)
            _dot(axes, interval["value"], y, interval)


def _interval(axes: Axes, y: float, interval: dict[str, Any]) -> None:
    if interval["low"] is None or interval["high"] is None:
        return
    left, right = axes.get_xlim()
    ends = max(interval["low"], left), min(interval["high"], right)
    axes.plot(ends, [y, y], color=COLOR, lw=1.3, alpha=0.75, zorder=3, gid="interval")
    heads = dict(color=COLOR, ms=4.5, mew=0, clip_on=False, zorder=3, gid="goes on")
    if interval["low"] < left:
        axes.plot([left], [y], marker="<", **heads)
    if interval["high"] > right:
        axes.plot([right], [y], marker=">", **heads)


def _cost(axes: Axes, column: Shown, rows: Sequence[dict[str, Any]]) -> None:
    _style(axes)
    axes.set_xlabel("FLOPs of the pretraining (0: none)", fontsize=8, color=INK)
    axes.set_ylabel(f"{column.title}, means", fontsize=8, color=INK, parse_math=False)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: quantity(value)))
    start = _start(rows, column.place)
    if start is not None:
        axes.axhline(start, color=INK, ls="--", lw=0.8, zorder=1, gid="start")
    points = []
    for row in rows:
        flops = flops_of(row)
        for interval in row["cells"][column.place] if flops is not None else ():
            _dot(axes, flops, interval["value"], interval)
            points.append((flops, interval["value"], clean(row["method"], 24)))
    if points:
        most = max(flops for flops, _, _ in points) or 1.0
        axes.set_xlim(-0.02 * most, 1.22 * most)  # names stand to the right
        axes.margins(y=0.12)
        _names(axes, points)


def _names(axes: Axes, points: Sequence[tuple[float, float, str]]) -> None:
    """Write each point's name beside it; where points share a place, below one another."""
    figure = axes.figure
    figure.draw_without_rendering()  # so that the layout is settled
    pixel, inch = axes.transData.transform, figure.dpi
    groups: list[list[tuple[float, float, str]]] = []
    for x, y, name in sorted(points):
        at = (*pixel((x, y)), name)
        if groups and at[0] - groups[-1][-1][0] < 0.3 * inch:
            groups[-1].append(at)
        else:
            groups.append([at])
    for number, group in enumerate(groups):
        group.sort(key=lambda at: at[1])
        is_last = number == len(groups) - 1
        longest = max(len(name) for _, _, name in group) * 0.068 * inch
        left, right = min(at[0] for at in group), max(at[0] for at in group)
        beyond = groups[number + 1][0][0] if not is_last else np.inf
        before = groups[number - 1][-1][0] if number else -np.inf
        # to the left where the next points are too near and the former ones are not
        to_left = right + longest > beyond - 0.15 * inch and left - before > beyond - right
        x = left - 0.12 * inch if to_left else right + 0.12 * inch
        gap = 0.125 * inch * np.arange(len(group))
        heights = isotonic_regression([at[1] for at in group] - gap).x + gap
        for at, y in zip(group, heights, strict=True):
            where = axes.transData.inverted().transform((x, y))
            dot = axes.transData.inverted().transform(at[:2])
            if np.hypot(x - at[0], y - at[1]) > 0.13 * inch:  # else it might pass for an interval
                style = dict(color=QUIET, lw=0.5, zorder=2)
                axes.plot(*zip(dot, where, strict=True), gid="leader", **style)
            style = dict(ha="right" if to_left else "left", va="center_baseline", gid="name")
            style |= dict(fontsize=SMALL, color=INK, parse_math=False)
            # the line of the untrained start must not strike a name out
            style["bbox"] = dict(facecolor="white", edgecolor="none", pad=0.6)
            axes.text(*where, at[2], **style)


def _legend(figure: Figure) -> None:
    drawn = {line.get_gid() for axes in figure.axes for line in axes.lines}
    bar = dict(color=COLOR, lw=1.3)
    signs = {
        "mean": ("mean and interval", MEAN | bar),
        "goes on": ("interval goes on", dict(marker=">", ms=4.5, mew=0, **bar)),
        "equal": ("seeds score the same: no spread known", DOTS["equal"]),
        "alone": ("one seed", DOTS["alone"]),
        "start": (f"untrained start ({START})", dict(color=INK, ls="--", lw=0.8)),
    }
    handles = [Line2D([], [], label=t, **s) for name, (t, s) in signs.items() if name in drawn]
    style = dict(fontsize=SMALL, frameon=False, labelcolor=INK, handlelength=1.8)
    figure.legend(handles=handles, loc="outside lower center", ncols=len(signs), **style)


def digest_of(path: Path) -> str:
    """A measured file -> what its picture keeps of it."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def write(name: str, folder: Path = IMAGES) -> Path:
    """A suite's name -> its picture, drawn anew into ``folder``."""
    source, path = FOLDER / f"{name}.json", folder / f"suite-{name}.png"
    figure = draw(json.loads(source.read_text()))
    figure.savefig(path, metadata={KEY: digest_of(source)}, pil_kwargs=dict(optimize=True))
    return path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("suite", choices=sorted(path.stem for path in FOLDER.glob("*.json")))
    print(write(parser.parse_args().suite))


if __name__ == "__main__":
    main()
