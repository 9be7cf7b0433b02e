"""The picture of a prediction: boxes and masks or a label map, beside the ground truth.

Panels are drawn by mmdet's and mmseg's own visualisers, on a picture enlarged until its labels can
be read. Legend: a picture of H x W pixels, N objects.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from mmdet.structures import DetDataSample
from mmdet.visualization import DetLocalVisualizer
from mmengine.structures import InstanceData, PixelData
from mmseg.structures import SegDataSample
from mmseg.visualization import SegLocalVisualizer

from semaim_mm.errors import InputError
from semaim_mm.report.prediction_data import Picture, load_predictor

SMALLEST, LARGEST = 480, 1280  # long side of a panel in pixels
NARROWEST = 260  # of a column, for its title
DPI, EDGE, TITLE, LINE = 100, 24, 30, 20
LABEL = 9  # points of a box's label
INK, QUIET = "#1b2030", "#667085"
UNLABELLED = 255


@dataclass(frozen=True)
class Panel:
    """One drawn picture: its title, (h, w, 3) uint8 RGB, and the labels that a legend explains."""

    title: str
    image: np.ndarray
    labels: Sequence[int] = ()
    has_unlabelled: bool = False


def write_prediction_figures(
    config: str,
    checkpoint: str,
    images: Sequence[str | Path],
    out: str | Path | None = None,
    score_thr: float = 0.3,
    options: dict | None = None,
) -> list[Path]:
    """Draw one PNG an image into ``out``: ground truth, where a set has it, and prediction.

    Args:
        config: of a detector or segmenter; ``checkpoint`` holds its whole model, or is 'random'.
        out: default: ``predictions`` beside the checkpoint, for 'random' in the config's work dir.
        score_thr: boxes and masks of a lower score are left out.
        options: overrides of the config.

    -> the files written. Raises InputError for a config, checkpoint, image or folder that can't be
    used.
    """
    missing = [str(path) for path in images if not Path(path).is_file()]
    if missing:
        raise InputError(
            f"{len(missing)} of {len(images)} images don't exist, the first: {missing[0]}; give "
            "paths of image files."
        )
    predictor = load_predictor(config, checkpoint, options)
    folder = predictor.folder if out is None else Path(out)
    written: list[Path] = []
    for path in images:
        picture = predictor(path)
        target = folder / f"{Path(path).stem}.png"
        number = 2
        while target in written:
            target = folder / f"{Path(path).stem}-{number}.png"
            number += 1
        try:
            folder.mkdir(parents=True, exist_ok=True)
            draw(picture, score_thr).savefig(target, dpi=DPI)
        except OSError as error:
            raise InputError(
                f"{target} could not be written ({error}); name another folder with --out."
            ) from error
        written.append(target)
    return written


def draw(picture: Picture, score_thr: float = 0.3) -> Figure:
    """-> the figure of a picture: its panels side by side, a legend for label maps."""
    return _sheet(panels(picture, score_thr), picture)


def panels(picture: Picture, score_thr: float = 0.3) -> list[Panel]:
    """-> ground truth, if there is one, and prediction."""
    scale = _scale(picture.image)
    image = _resize(picture.image, scale, cv2.INTER_CUBIC if scale > 1 else cv2.INTER_AREA)
    if isinstance(picture.prediction, PixelData):
        found = [("ground truth", picture.truth)] if picture.truth is not None else []
        found.append(("prediction", picture.prediction))
        return [_label_panel(title, image, map_, picture) for title, map_ in found]
    kept = picture.prediction[picture.prediction.scores > score_thr]
    title = f"prediction: {len(kept)} of {len(picture.prediction)} above a score of {score_thr:g}"
    drawn = [_instance_panel(title, image, kept, scale, picture)]
    if picture.truth is not None:
        title = f"ground truth: {len(picture.truth)} objects"
        drawn.insert(0, _instance_panel(title, image, picture.truth, scale, picture))
    return drawn


def _instance_panel(
    title: str, image: np.ndarray, instances: InstanceData, scale: float, picture: Picture
) -> Panel:
    enlarged = InstanceData(
        bboxes=instances.bboxes * scale,
        labels=instances.labels,
        label_names=_label_texts(instances, picture.classes),
    )
    if "masks" in instances and len(instances):
        enlarged.masks = torch.from_numpy(_nearest(instances.masks.numpy(), image.shape[:2]))
    visualizer = _Objects(line_width=2, alpha=0.6, text_color=(255, 255, 255))
    visualizer.dataset_meta = dict(classes=picture.classes, palette=picture.palette)
    state = np.random.get_state()
    np.random.seed(0)  # mmdet varies the colours of masks at random
    sample = DetDataSample(gt_instances=enlarged)
    visualizer.add_datasample("", image, sample, draw_pred=False)
    np.random.set_state(state)
    return Panel(title, visualizer.get_image())


def _label_texts(instances: InstanceData, classes: Sequence[str]) -> list[str]:
    """What stands at each box: its class, and the score in the unit of ``score_thr``."""
    names = instances.get("label_names") or [classes[int(label)] for label in instances.labels]
    if "scores" not in instances:
        return list(names)
    scores = instances.scores.tolist()
    return [f"{name} {score:.3f}" for name, score in zip(names, scores, strict=True)]


class _Objects(DetLocalVisualizer):
    """mmdet's visualiser with labels of one size, above all masks; its own lie under them."""

    def draw_texts(self, *args, **kwargs):
        self._later.append((args, kwargs | dict(font_sizes=LABEL)))
        return self

    def _draw_instances(self, *args, **kwargs):
        self._later = []
        super()._draw_instances(*args, **kwargs)
        for args, kwargs in self._later:
            super().draw_texts(*args, **kwargs)
        return self.get_image()


def _label_panel(title: str, image: np.ndarray, map_: PixelData, picture: Picture) -> Panel:
    labels = map_.data.numpy()
    enlarged = torch.from_numpy(_nearest(labels, image.shape[:2]))
    visualizer = SegLocalVisualizer(alpha=0.6)
    # its constructor exchanges classes and palette
    visualizer.dataset_meta = dict(classes=picture.classes, palette=picture.palette)
    sample = SegDataSample(gt_sem_seg=PixelData(data=enlarged))
    # names stand in the legend: cv2 can write ASCII alone, over the small regions
    gray = cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    visualizer.add_datasample("", gray, sample, draw_pred=False, with_labels=False)
    known = [int(label) for label in np.unique(labels) if label < len(picture.classes)]
    return Panel(title, visualizer.get_image(), known, bool((labels == UNLABELLED).any()))


def _scale(image: np.ndarray) -> float:
    """How much a picture is enlarged (a whole number) or, if very large, reduced."""
    longest = max(image.shape[:2])
    return -(-SMALLEST // longest) if longest < SMALLEST else min(1, LARGEST / longest)


def _resize(image: np.ndarray, scale: float, interpolation: int) -> np.ndarray:
    height, width = (max(1, round(side * scale)) for side in image.shape[:2])
    return cv2.resize(image, (width, height), interpolation=interpolation)


def _nearest(maps: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """(N, H, W) -> (N, h, w), each pixel that of the place it comes from."""
    rows, columns = (
        np.arange(new) * old // new for new, old in zip(shape, maps.shape[1:], strict=True)
    )
    return maps[:, rows][:, :, columns]


def _sheet(drawn: Sequence[Panel], picture: Picture) -> Figure:
    """Panels side by side at one screen pixel for one of theirs, measured from the top left."""
    height, side = drawn[0].image.shape[:2]
    pitch = max(side, NARROWEST) + EDGE
    width = EDGE + pitch * len(drawn)
    labels = sorted({label for panel in drawn for label in panel.labels})
    legend = {picture.classes[label]: picture.palette[label] for label in labels}
    if any(panel.has_unlabelled for panel in drawn):
        legend["not labelled"] = (0, 0, 0)
    columns = max(1, (width - 2 * EDGE) // 160)
    below = 2 * TITLE + height
    total = below + LINE * -(-len(legend) // columns) + 2 * LINE
    figure = Figure(figsize=(width / DPI, total / DPI), dpi=DPI, facecolor="white")
    FigureCanvasAgg(figure)

    def write(x: float, y: float, text: str, size: float, **style) -> None:
        figure.text(x / width, 1 - y / total, text, fontsize=size, parse_math=False, **style)

    for number, panel in enumerate(drawn):
        left = EDGE + number * pitch
        write(left, 2 * TITLE - 9, panel.title, 10.5, color=INK)
        box = (left / width, 1 - below / total, side / width, height / total)
        axes = figure.add_axes(box)
        axes.imshow(panel.image, interpolation="none", aspect="auto")
        axes.set_axis_off()
    write(EDGE, TITLE - 5, _shortened(picture.name, width - 2 * EDGE, 11), 12.5, color=INK)
    if legend:
        _legend(figure, legend, columns, below / total)
    write(EDGE, total - 12, _shortened(picture.source, width - 2 * EDGE, 7), 8, color=QUIET)
    return figure


def _legend(
    figure: Figure, legend: dict[str, tuple[int, int, int]], columns: int, top: float
) -> None:
    handles = [
        Patch(facecolor=np.array(color) / 255, edgecolor=INK, linewidth=0.4, label=name[:22])
        for name, color in legend.items()
    ]
    figure.legend(
        handles=handles,
        ncols=columns,
        loc="upper left",
        bbox_to_anchor=(EDGE / (figure.get_figwidth() * DPI), 1 - top),
        fontsize=8.5,
        frameon=False,
        borderaxespad=0.4,
        borderpad=0.0,
        handlelength=1.2,
    )


def _shortened(text: str, room: float, letter: float) -> str:
    """Text cut to about ``room`` pixels at ``letter`` pixels a letter."""
    most = max(8, int(room / letter))
    return text if len(text) <= most else text[: most - 3] + "..."
