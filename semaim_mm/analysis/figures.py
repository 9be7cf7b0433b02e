"""Figures of the analyses. Legend: H x W pixels; uint8 RGB pictures."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from semaim_mm.errors import InputError
from semaim_mm.leaderboard.intervals import Interval

EARLY_TO_LATE = colormaps["plasma_r"]


def sheet(rows: int, columns: int, width: float = 4.6, height: float = 3.6) -> tuple[Figure, list]:
    """-> a figure and its axes, row by row."""
    figure = Figure(figsize=(columns * width, rows * height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure, list(figure.subplots(rows, columns, squeeze=False).flat)


def line(
    axes: Axes,
    found: Mapping[str, Interval],
    label: str | None = None,
    color: Any = None,
    style: str = "-",
) -> None:
    """Intervals by position -> a line with its band."""
    places = [float(key) for key in found]
    values = [item.value for item in found.values()]
    color = axes.plot(places, values, label=label, lw=1.6, color=color, ls=style)[0]
    # a lone picture, or equal ones, have no interval: the band breaks there
    low, high = (
        [np.nan if item.low is None else bound(item) for item in found.values()]
        for bound in (lambda item: item.low, lambda item: item.high)
    )
    axes.fill_between(places, low, high, color=color.get_color(), alpha=0.15, lw=0)


def _percent(found: Mapping[str, Interval]) -> dict[str, Interval]:
    return {str(100 * float(part)): item for part, item in found.items()}


def objects_figure(found: Mapping) -> Figure:
    """What ``examine_objects`` gave -> shares and distances by order, and over training.

    With several checkpoints also the stability of those orders that training can change.
    """
    names = list(found["share"])
    last = names[-1]
    figure, axes = sheet(2, 2) if found["tau"] else sheet(1, 3)
    for order, shares in found["share"][last].items():
        # snake goes over the same rows as raster, so that their curves nearly coincide
        line(axes[0], _percent(shares), order, style="--" if order == "snake" else "-")
    axes[0].set(ylabel="share on an object", title=f"By order, {last}")
    own = next(iter(found["share"][last]))
    for number, name in enumerate(names):
        color = EARLY_TO_LATE((number + 1) / len(names))
        line(axes[1], _percent(found["share"][name][own]), name, color)
    axes[1].set(title=f"Over training: {own}")
    for place in axes[:2]:
        place.axhline(found["by_chance"].value, color="0.4", ls=":", lw=1)
        place.set(xlabel="first r % of the patches")
        place.legend(fontsize=7, loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False)
    centers = found["distance"][last]
    values = list(centers.values())
    bars = [[item.value - (item.low or item.value) for item in values]]
    bars.append([(item.high or item.value) - item.value for item in values])
    axes[2].bar(list(centers), [item.value for item in values], yerr=bars, color="#6a2c8c")
    axes[2].tick_params(axis="x", labelsize=8)
    axes[2].set(ylabel="patches", title="Chosen centre to nearest object")
    axes[2].set_xlabel("of several centres, the one farthest off")
    if found["tau"]:
        _stability(axes[3], found["tau"])
    return figure


def _stability(axes: Axes, found: Mapping[str, Mapping[str, Interval]]) -> None:
    pairs = list(found.values())
    for order in pairs[0]:
        if any(pair[order].value < 1 - 1e-9 for pair in pairs):
            line(axes, {str(n): pair[order] for n, pair in enumerate(pairs)}, order)
    if not axes.lines:
        axes.text(0.5, 0.5, "no order depends on the weights", ha="center")
    axes.set_xticks(range(len(pairs)), list(found), rotation=20, fontsize=7)
    axes.set(ylim=(-0.05, 1.05), ylabel="Kendall's tau", title="Stability of a picture's order")
    if axes.lines:
        axes.legend(fontsize=7)


SEVERAL = ("semantic", "multi_center", "stochastic")  # the last is what chance does


def several_figure(found: Mapping, orders: Sequence[str] = SEVERAL) -> Figure:
    """What ``examine_objects`` gave -> objects covered, on pictures of 1, 2, 3+ objects."""
    last = list(found["covered"])[-1]
    groups = found["covered"][last]
    figure, axes = sheet(1, len(groups), 3.6, 3.2)
    for place, (number, by_order) in zip(axes, groups.items(), strict=True):
        for order in orders:
            line(place, _percent(by_order[order]), order)
        count = next(iter(by_order["semantic"].values())).n
        place.set(
            xlabel="first r % of the patches",
            ylim=(0, 1.02),
            title=f"{number} object{'' if number == '1' else 's'} ({count} pictures)",
        )
    axes[0].set_ylabel("share of the objects that are begun")
    axes[0].legend(fontsize=8)
    return figure


def loss_figure(found: Mapping) -> Figure:
    """What ``loss_profile`` gave -> the loss by rank and by distance."""
    figure, axes = sheet(1, len(found))
    titles = dict(by_rank="rank in the order", by_distance="patches to the nearest centre")
    for place, (name, profile) in zip(axes, found.items(), strict=True):
        line(place, profile)
        place.set(xlabel=titles[name])
        place.set_ylim(bottom=max(0, place.get_ylim()[0]))  # where few pictures reach, bands do not
    axes[0].set_ylabel("loss of a patch")
    return figure


def precision_figure(found: Mapping[str, Interval]) -> Figure:
    """What ``moved_peaks`` gave -> a bar each with its interval."""
    figure, (axes,) = sheet(1, 1)
    for place, item in enumerate(found.values()):
        known = item.low is not None
        spread = [[item.value - item.low], [item.high - item.value]] if known else None
        axes.bar(place, 100 * item.value, yerr=spread and 100 * np.array(spread), capsize=4)
    axes.set_xticks(range(len(found)), list(found))
    axes.set_ylabel("% of pictures whose peak moves")
    return figure


def proxy_figure(found: Mapping[tuple[str, str], tuple[Mapping, Interval]]) -> Figure:
    """(cheap, dense) -> ({method: (cheap, dense)}, rho): a panel each, a point a method's mean."""
    columns = min(3, len(found))
    figure, axes = sheet(-(-len(found) // columns), columns, 4.2, 3.8)
    for place in axes[len(found) :]:
        place.axis("off")
    for place, (names, (values, rho)) in zip(axes, found.items(), strict=False):
        points = sorted(values.items(), key=lambda point: point[1][1])
        reach = np.ptp([at for _, at in points], axis=0) * (0.25, 0.045)
        for number, (method, at) in enumerate(points):
            place.plot(*at, "o", ms=5, color="#6a2c8c")
            above = points[min(number + 1, len(points) - 1)][1]
            # the lower of two that are near each other has its name below
            shift = -9 if above != at and np.all(np.abs(np.subtract(above, at)) < reach) else 3
            style = dict(fontsize=7, xytext=(4, shift), textcoords="offset points")
            place.annotate(method, at, parse_math=False, **style)
        place.margins(x=0.35, y=0.2)  # room for the names
        place.xaxis.set_major_locator(MaxNLocator(4))
        cheap = f"minus {names[0]}" if "loss" in names[0] else names[0]
        place.set(xlabel=cheap, ylabel=names[1])
        span = "no interval" if rho.low is None else f"{rho.low:.2f} to {rho.high:.2f}"
        title = f"rho {rho.value:.2f} ({span}), {len(values)} methods"
        place.set_title(title, fontsize=9)
    return figure


def save(figure: Figure, folder: Path, name: str) -> Path:
    """A figure -> ``folder/name.png``; InputError where the folder can't be written to."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        figure.savefig(folder / f"{name}.png", dpi=110)
    except OSError as error:
        raise InputError(
            f"{folder} can't be written to ({error}); name another folder with --out."
        ) from error
    return folder / f"{name}.png"


def picture_grid(rows: Sequence[Sequence[np.ndarray]], titles: Sequence[str]) -> Figure:
    """Rows of pictures, titles of the columns -> one figure."""
    figure, axes = sheet(len(rows), len(titles), 1.5, 1.5)
    for place in axes:
        place.axis("off")
    for number, row in enumerate(rows):
        for column, picture in enumerate(row):
            place = axes[number * len(titles) + column]
            place.imshow(picture)
            if number == 0:
                place.set_title(titles[column], fontsize=9)
    return figure
