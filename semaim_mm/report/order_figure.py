"""The picture of a generation order: similarity map, centres, orders side by side, prediction.

Panels are placed in inches from the top left corner, so that two layouts need no arithmetic of
fractions. Legend: rows x columns patches of a picture of H x W pixels.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.patheffects import withStroke

from semaim_mm.errors import InputError
from semaim_mm.report.order_data import OrderPicture, examine, load_model

RAMP = LinearSegmentedColormap.from_list(
    "order", ["#fff1bd", "#fdc25a", "#f4795b", "#c03a76", "#6a2c8c", "#221d54"]
)
NUMBERED = 8  # longest side of a grid whose ranks are written out
INK, QUIET, MARK = "#1b2030", "#667085", "#4de8ff"
EDGE, GAP, BIG, MEDIUM = 0.28, 0.16, 2.3, 2.0
DPI = 160
Box = tuple[float, float, float, float]  # left, top, width, height in inches


def write_order_figures(
    checkpoint: str | Path,
    images: Sequence[str | Path],
    config: str | Path | None = None,
    out: str | Path | None = None,
    seed: int = 0,
    layout: str = "full",
) -> list[Path]:
    """Draw one PNG a picture into ``out`` (default: order_figures beside the checkpoint).

    -> the files written. Raises InputError for a checkpoint, config or image that can't be used.
    """
    model = load_model(checkpoint, config)
    folder = Path(checkpoint).parent / "order_figures" if out is None else Path(out)
    written: list[Path] = []
    for image in images:
        picture = examine(model, image, checkpoint, seed)
        path = folder / f"{picture.name}.png"
        number = 2
        while path in written:
            path = folder / f"{picture.name}-{number}.png"
            number += 1
        try:
            folder.mkdir(parents=True, exist_ok=True)
            draw(picture, layout).savefig(path, dpi=DPI)
        except OSError as error:
            raise InputError(
                f"{path} could not be written ({error}); name another folder with --out."
            ) from error
        written.append(path)
    return written


def draw(picture: OrderPicture, layout: str = "full") -> Figure:
    """-> the figure: 'full', every panel in two rows, or 'wide', the main ones in one row."""
    return LAYOUTS[layout](picture)


def _full(picture: OrderPicture) -> Figure:
    others = [name for name in picture.ranks if name != picture.own]
    width = 2 * EDGE + 5 * BIG + 4 * GAP
    pitch = (width - 2 * EDGE + GAP) / max(1, len(others))
    small = min(BIG, pitch - GAP)
    first = 0.98
    second = first + BIG * picture.aspect + 0.78
    bottom = second + small * picture.aspect
    sheet = _Sheet(width, bottom + 0.6)
    sheet.text(EDGE, 0.38, f"{picture.name[:40]}: what {picture.checkpoint} predicts first", 13)
    _ramp_legend(sheet, width - EDGE, 0.27)
    _main_panels(sheet, picture, first, BIG, with_target=True)
    sheet.text(EDGE, second - 0.34, "The same picture in the other orders", 10.5)
    for number, name in enumerate(others):
        box = (EDGE + number * (small + GAP), second, small, small * picture.aspect)
        _order(sheet.panel(box, name), picture, name)
    sheet.text(EDGE, bottom + 0.32, caption(picture), 8.5, color=QUIET)
    return sheet.figure


def _wide(picture: OrderPicture) -> Figure:
    others = [name for name in picture.ranks if name != picture.own]
    columns, top, label = -(-len(others) // 2), 0.6, 0.24
    height = MEDIUM * picture.aspect
    small = (height - label) / 2
    pitch = small / picture.aspect + 0.22
    left = EDGE + 4 * MEDIUM + 3 * GAP + 0.3
    sheet = _Sheet(left + columns * pitch - 0.22 + EDGE, top + height + 0.42)
    _main_panels(sheet, picture, top, MEDIUM, with_target=False)
    for number, name in enumerate(others):
        row, column = divmod(number, columns)
        box = (left + column * pitch, top + row * (small + label), pitch - 0.22, small)
        _order(sheet.panel(box, name), picture, name)
    sheet.text(EDGE, top + height + 0.27, caption(picture), 8, color=QUIET)
    return sheet.figure


LAYOUTS: dict[str, Callable[[OrderPicture], Figure]] = {"full": _full, "wide": _wide}


def caption(picture: OrderPicture) -> str:
    """-> one line: checkpoint, order, grid, loss and target, seed."""
    rows, columns = picture.similarity.shape
    loss = f"no loss, the teacher of {picture.target_kind} is not at hand"
    if picture.loss is not None:
        loss = f"loss {picture.loss:.3f} on {picture.target_kind}"
    return (
        f"{picture.checkpoint}  ·  order {picture.own}, similarity {picture.source}  ·  "
        f"{rows} x {columns} patches  ·  {loss}  ·  seed {picture.seed}"
    )


class _Sheet:
    """A figure whose panels and texts are placed in inches from the top left corner."""

    def __init__(self, width: float, height: float):
        self.width, self.height = width, height
        self.figure = Figure(figsize=(width, height), facecolor="white")
        FigureCanvasAgg(self.figure)

    def axes(self, box: Box) -> Axes:
        x, y, width, height = box
        bottom = 1 - (y + height) / self.height
        axes = self.figure.add_axes(
            (x / self.width, bottom, width / self.width, height / self.height)
        )
        axes.set_axis_off()
        return axes

    def panel(self, box: Box, title: str, note: str = "") -> Axes:
        """A picture's place; its title and a note stand above it."""
        x, y, width, _ = box
        size = 10.5 if width > 1.5 else 8.5 if width > 1 else 7.5
        self.text(x, y - (0.23 if note else 0.06), title, size)
        if note:
            # 16 letters of 8 points fill an inch
            self.text(x, y - 0.07, note, 8 * min(1, 16 * width / len(note)), color=QUIET)
        return self.axes(box)

    def text(self, x: float, y: float, text: str, size: float, **style) -> None:
        """Text whose baseline starts at (x, y)."""
        style = dict(color=INK, va="baseline", parse_math=False) | style
        self.figure.text(x / self.width, 1 - y / self.height, text, fontsize=size, **style)


def _main_panels(
    sheet: _Sheet, picture: OrderPicture, top: float, side: float, with_target: bool
) -> None:
    height = side * picture.aspect
    boxes = iter([(EDGE + number * (side + GAP), top, side, height) for number in range(5)])
    centers = picture.centers.get(picture.own, [])
    stars = {0: "no centre", 1: "star: the chosen centre"}.get(len(centers), "stars: the centres")
    axes = sheet.panel(next(boxes), "picture", stars)
    _image(axes, picture.image)
    _patch_lines(axes, picture, alpha=0.25)
    _stars(axes, picture, centers)
    axes = sheet.panel(next(boxes), "similarity map", picture.source)
    # opaque: a picture that shines through would make other cells than the peak the brightest
    axes.imshow(picture.similarity, cmap="magma", extent=_extent(picture))
    _stars(axes, picture, centers)
    last = picture.similarity.size - 1
    axes = sheet.panel(next(boxes), f"order: {picture.own}", f"0 is first, {last} last")
    _order(axes, picture, picture.own)
    box = next(boxes)
    if picture.target is None or picture.prediction is None:
        box = (*box[:2], 2 * side + GAP if with_target else side, height)
        axes = sheet.panel(box, "target and prediction", picture.target_kind)
        axes.add_patch(Rectangle((0, 0), 1, 1, facecolor="#f2f4f7", edgecolor="#d0d5dd"))
        text = "features can't be\ndrawn as pixels"
        axes.text(0.5, 0.5, text, color=QUIET, fontsize=8.5, ha="center", va="center")
        return
    if with_target:
        _image(sheet.panel(box, "target", picture.target_kind), picture.target)
        box = next(boxes)
    title, note = "prediction", "each patch from those before it"
    if picture.is_normalized:
        title, note = "prediction, de-normalised", "the target patch's mean and std put back"
    _image(sheet.panel(box, title, note), picture.prediction)


def _extent(picture: OrderPicture) -> tuple[float, float, float, float]:
    """The pixel frame of the picture, for panels that hold one cell a patch."""
    height, width = picture.image.shape[:2]
    return (-0.5, width - 0.5, height - 0.5, -0.5)


def _image(axes: Axes, image: np.ndarray) -> None:
    axes.imshow(image, cmap="gray", vmin=0, vmax=255, interpolation="lanczos")


def _order(axes: Axes, picture: OrderPicture, name: str) -> None:
    axes.set_label(name)
    ranks = picture.ranks[name]
    rows, columns = ranks.shape
    axes.imshow(ranks, cmap=RAMP, extent=_extent(picture), vmin=0, vmax=ranks.size - 1)
    _patch_lines(axes, picture, alpha=0.9)
    height, width = picture.image.shape[:2]
    points = 72 * axes.figure.get_figwidth() * axes.get_position().width / columns  # of a cell
    if max(rows, columns) <= NUMBERED and points > 10:
        for (row, column), rank in np.ndenumerate(ranks):
            axes.text(
                (column + 0.5) * width / columns - 0.5,
                (row + 0.5) * height / rows - 0.5,
                str(rank),
                color=INK if rank < 0.45 * ranks.size else "white",
                fontsize=min(8.5, 0.44 * points),
                ha="center",
                va="center_baseline",
            )
    for row, column in picture.centers.get(name, []):
        axes.add_patch(
            Rectangle(
                (column * width / columns - 0.5, row * height / rows - 0.5),
                width / columns,
                height / rows,
                fill=False,
                edgecolor=INK,
                linewidth=1.4,
                zorder=4,
                clip_on=False,
            )
        )


def _patch_lines(axes: Axes, picture: OrderPicture, alpha: float) -> None:
    rows, columns = picture.similarity.shape
    height, width = picture.image.shape[:2]
    style = dict(color="white", alpha=alpha, linewidth=0.6, zorder=2)
    axes.hlines(np.arange(1, rows) * height / rows - 0.5, -0.5, width - 0.5, **style)
    axes.vlines(np.arange(1, columns) * width / columns - 0.5, -0.5, height - 0.5, **style)


def _stars(axes: Axes, picture: OrderPicture, centers: list[tuple[int, int]]) -> None:
    rows, columns = picture.similarity.shape
    height, width = picture.image.shape[:2]
    for row, column in centers:
        axes.plot(
            (column + 0.5) * width / columns - 0.5,
            (row + 0.5) * height / rows - 0.5,
            marker="*",
            markersize=15,
            color=MARK,
            path_effects=[withStroke(linewidth=3, foreground=INK)],
            zorder=5,
        )


def _ramp_legend(sheet: _Sheet, right: float, y: float) -> None:
    for x, word in ((right, "last"), (right - 2.32, "first")):
        sheet.text(x, y + 0.12, word, 8.5, color=QUIET, ha="right")
    axes = sheet.axes((right - 2.25, y, 1.9, 0.13))
    axes.imshow(np.linspace(0, 1, 256)[None], cmap=RAMP, aspect="auto")
