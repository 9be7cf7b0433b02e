"""The page's charts as Plotly figures: plain dicts without colours, which the page's theme gives.

A trace's ``meta`` has ``series``, the number of its method, by which the page chooses colour and
marker in every chart alike. Plotly reads some markup in texts, so every name is escaped for it.
"""

import html
import math
from collections.abc import Sequence
from typing import Any

from semaim_mm.leaderboard.intervals import OVER_IMAGES, OVER_PRETRAINING, Interval
from semaim_mm.leaderboard.model import Cell, Group, Row
from semaim_mm.leaderboard.write.cost import cost_of
from semaim_mm.leaderboard.write.curves import Curve
from semaim_mm.leaderboard.write.rows import labels
from semaim_mm.leaderboard.write.text import clean, quantity, score, span, unit_of

Figure = dict[str, Any]
BAR, EDGES = 30, 96  # pixels of a bar, and of what is around them
APART = 0.16  # of the two intervals on a bar, in bars
STEP = 0.022  # between points of nearly one cost, in the width of what is drawn


def plain(text: object, most: int = 40) -> str:
    """Any text -> one that Plotly shows as it is."""
    return html.escape(clean(text, most), quote=False)


def bars(group: Group, methods: Sequence[str]) -> Figure:
    """A group's headline figure, a bar a row, with both intervals."""
    rows = group.rows[::-1]  # Plotly's first is at the bottom
    names, unit = (
        [plain(label, 60) for label in labels(rows)],
        unit_of(group.metrics[group.headline]),
    )
    cells = [row.cells[group.headline] for row in rows]
    heights = list(range(len(rows)))
    told = [
        f"<b>{name}</b><br>{score(cell.value)} {plain(unit)}"
        f"<br>{cell.over_pretraining.over}: {span(cell.over_pretraining)}"
        f" (n = {cell.over_pretraining.n})"
        f"<br>{OVER_IMAGES}: {span(cell.over_images)}"
        for name, cell in zip(names, cells, strict=True)
    ]
    data: list[Figure] = [
        dict(
            type="bar",
            orientation="h",
            y=heights,
            x=[cell.value for cell in cells],
            width=0.62,
            hovertext=told,
            hoverinfo="text",
            showlegend=False,
            meta=dict(role="bars", series=[methods.index(row.method) for row in rows]),
        )
    ]
    for name, shift, intervals in (
        (_over(cells), APART, [cell.over_pretraining for cell in cells]),
        (OVER_IMAGES, -APART, [cell.over_images for cell in cells]),
    ):
        known = [i for i, interval in enumerate(intervals) if _has_ends(interval)]
        if known:
            data.append(
                dict(
                    type="scatter",
                    mode="markers",
                    name=f"95 % {name}",
                    y=[heights[i] + shift for i in known],
                    x=[cells[i].value for i in known],
                    error_x=_errors([intervals[i] for i in known]),
                    hoverinfo="skip",
                    meta=dict(role="seeds" if shift > 0 else "images"),
                )
            )
    axis = dict(
        tickmode="array", tickvals=heights, ticktext=names, automargin=True, fixedrange=True
    )
    return dict(
        data=data,
        layout=dict(
            height=EDGES + BAR * len(rows),
            yaxis=axis | dict(range=[-0.6, len(rows) - 0.4], showgrid=False, zeroline=False),
            xaxis=dict(
                title=dict(text=f"{plain(group.headline)} ({plain(unit)})"), rangemode="tozero"
            ),
        ),
    )


def against_cost(group: Group, methods: Sequence[str]) -> Figure | None:
    """A group's headline figure by the FLOPs of pretraining; None where no row states them.

    Rows without any pretraining are lines across.
    """
    unit, names = unit_of(group.metrics[group.headline]), labels(group.rows, 24)
    data: list[Figure] = []
    lines: list[Figure] = []
    notes: list[Figure] = []
    for row, name in zip(group.rows, names, strict=True):
        cost, cell = cost_of(row), row.cells[group.headline]
        series = methods.index(row.method)
        if cost.pretrained and cost.flops:
            data.append(_point(row, plain(name, 40), cost.flops, cell, unit, series))
        elif not cost.pretrained:
            lines.append(
                dict(type="line", xref="paper", x0=0, x1=1, y0=cell.value, y1=cell.value)
                | dict(line=dict(dash="dot", width=1.5), name=f"series {series}")
            )
            text = f"{plain(name, 40)} (no pretraining)"
            notes.append(
                dict(text=text, xref="paper", x=0, y=cell.value, showarrow=False)
                | dict(xanchor="left", yanchor="bottom", name=f"series {series}")
            )
    if not data:
        return None
    flops = [trace["x"][0] for trace in data]
    wide = max(flops) > 4 * min(flops)
    for trace, x in zip(data, side_by_side(flops, wide), strict=True):
        trace["x"] = [x]
    margin = 0.25 * (max(flops) - min(flops)) or 0.5 * max(flops)
    axis: Figure = dict(title=dict(text="pretraining FLOPs"), exponentformat="SI")
    if wide:
        axis |= dict(type="log", dtick="D2")
    else:
        axis |= dict(range=[max(0, min(flops) - margin), max(flops) + margin])
    return dict(
        data=data,
        layout=dict(
            height=max(340, EDGES + BAR * len(group.rows)),
            xaxis=axis,
            yaxis=dict(
                title=dict(text=f"{plain(group.headline)} ({plain(unit)})"),
                automargin=True,
                range=_reach(group, data, lines),
            ),
            shapes=lines,
            annotations=notes,
        ),
    )


def side_by_side(costs: Sequence[float], logarithmic: bool) -> list[float]:
    """Costs -> where to draw them: those that would cover each other are set apart a little."""
    places = [math.log(cost) if logarithmic else cost for cost in costs]
    step = STEP * ((max(places) - min(places)) or (1.0 if logarithmic else max(places)))
    order = sorted(range(len(places)), key=lambda i: places[i])
    runs: list[list[int]] = []
    for i in order:
        if runs and places[i] - places[runs[-1][-1]] < step:
            runs[-1].append(i)
        else:
            runs.append([i])
    for run in runs:
        middle = sum(places[i] for i in run) / len(run)
        for place, i in enumerate(run):
            if len(run) > 1:
                places[i] = middle + step * (place - (len(run) - 1) / 2)
    return [math.exp(place) if logarithmic else place for place in places]


def curve_figures(curves: Sequence[Curve], methods: Sequence[str]) -> dict[str, Figure]:
    """Learning curves -> a figure for each part, pretraining first; a method has one colour."""
    names = list(methods) + sorted({curve.method for curve in curves} - set(methods))
    found: dict[str, Figure] = {}
    for curve in curves:
        traces = found.setdefault(curve.part, dict(data=[], layout=_curve_layout()))["data"]
        shown = plain(curve.method, 36)
        seed = "" if curve.seed is None else f", seed {curve.seed}"
        traces.append(
            dict(
                type="scatter",
                mode="lines",
                name=shown,
                legendgroup=shown,
                showlegend=all(trace["name"] != shown for trace in traces),
                x=list(curve.steps),
                y=list(curve.losses),
                text=shown + seed,
                hoverinfo="x+y+text",
                meta=dict(role="line", series=names.index(curve.method)),
            )
        )
    for figure in found.values():
        figure["data"].sort(key=lambda trace: trace["meta"]["series"])
    return dict(sorted(found.items(), key=lambda item: (item[0] != "pretraining", item[0])))


def _curve_layout() -> Figure:
    return dict(
        height=420,
        xaxis=dict(title=dict(text="updates"), rangemode="tozero"),
        yaxis=dict(title=dict(text="training loss"), automargin=True),
    )


def _point(row: Row, name: str, flops: float, cell: Any, unit: str, series: int) -> Figure:
    seeds = cell.over_pretraining
    told = (
        f"<b>{name}</b><br>{score(cell.value)} {plain(unit)}<br>{quantity(flops)}FLOP"
        f"<br>{seeds.over}: {span(seeds)} (n = {seeds.n})"
    )
    point = dict(
        type="scatter",
        mode="markers",
        name=name,
        x=[flops],
        y=[cell.value],
        hovertext=[told],
        hoverinfo="text",
        meta=dict(role="point", series=series),
    )
    if _has_ends(seeds):
        point["error_y"] = _errors([seeds])
    return point


def _reach(group: Group, points: Sequence[Figure], lines: Sequence[Figure]) -> list[float]:
    """The range of scores that shows every point, interval and line whole.

    It spans the intervals over images too, so that no difference within these looks large.
    """
    images = [row.cells[group.headline].over_images for row in group.rows]
    ends = [end for found in images if _has_ends(found) for end in (found.low, found.high)]
    ends += [line["y0"] for line in lines]
    for point in points:
        y, errors = point["y"][0], point.get("error_y")
        ends += [y + errors["array"][0], y - errors["arrayminus"][0]] if errors else [y]
    pad = 0.08 * (max(ends) - min(ends)) or 1.0
    return [min(ends) - pad, max(ends) + pad]


def _over(cells: Sequence[Cell]) -> str:
    """What the intervals over seeds are over, those of a further training too if any has one."""
    known = [cell.over_pretraining for cell in cells if _has_ends(cell.over_pretraining)]
    return max((interval.over for interval in known), key=len, default=OVER_PRETRAINING)


def _has_ends(interval: Interval | None) -> bool:
    return interval is not None and interval.low is not None and interval.high is not None


def _errors(intervals: Sequence[Interval]) -> Figure:
    return dict(
        type="data",
        symmetric=False,
        array=[max(0.0, interval.high - interval.value) for interval in intervals],
        arrayminus=[max(0.0, interval.value - interval.low) for interval in intervals],
        thickness=1.8,
        width=5,
    )
