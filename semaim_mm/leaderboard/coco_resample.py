"""COCO's AP and AR of resampled images, from the matches that a single evaluation made.

Which detection is matched to which object is decided inside an image, so a resample changes only
how often each image counts. Legend: B resamples, N images, D detections, K categories, T overlap
thresholds, R points on the recall axis.
"""

import io
import json
from collections.abc import Iterable, Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import NamedTuple

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from semaim_mm.errors import InputError

MAX_DETECTIONS = (1, 10, 100)  # as dense/coco_metric.py, whose numbers these are
SIZES = {"mAP_s": 1, "mAP_m": 2, "mAP_l": 3}  # name -> index in COCOeval.params.areaRng
ELEMENTS = 1 << 22  # numbers in an array of resamples by detections: 16 MiB


class ResampledCoco:
    """COCO's metrics in percent as functions of how often each image is drawn.

    A copy of an image is an image of its own, as under a new id next to the first in COCO's JSON:
    every resample has the numbers that pycocotools gives on files with such copies.

    Args:
        evaluation: a COCOeval after ``evaluate()``; it is read, not kept.

    Attributes:
        image_ids: N ids, sorted; the order of images in ``values``.
        n: N.
    """

    def __init__(self, evaluation: COCOeval):
        params, per_image = evaluation.params, evaluation.evalImgs
        self.image_ids = list(params.imgIds)
        self.n = len(self.image_ids)
        self._recalls = np.asarray(params.recThrs)
        self._thresholds = [round(100 * threshold) for threshold in params.iouThrs]
        areas, count = len(params.areaRng), len(self._thresholds)
        blocks = [per_image[i : i + self.n] for i in range(0, len(per_image), self.n)]
        self._curves = [[_curve(b, count) for b in blocks[area::areas]] for area in range(areas)]

    def values(self, counts: np.ndarray) -> dict[str, np.ndarray]:
        """(B, N) whole numbers -> mAP, mAP_50, mAP_75, mAP_s, mAP_m, mAP_l, AR@100, each (B,).

        NaN where a resample has no object of that size; of all objects alone where the evaluation
        has no other sizes.
        """
        counts = np.ascontiguousarray(counts, dtype=np.int32)
        precision, recall = self._area(counts, 0)
        found = {
            "mAP": _mean(precision),
            "mAP_50": _mean(precision[[self._thresholds.index(50)]]),
            "mAP_75": _mean(precision[[self._thresholds.index(75)]]),
        }
        found |= {
            name: _mean(self._area(counts, area)[0])
            for name, area in SIZES.items()
            if area < len(self._curves)
        }
        return found | {"AR@100": _mean(recall)}

    def _area(self, counts: np.ndarray, area: int) -> tuple[np.ndarray, np.ndarray]:
        """-> average precision and recall by threshold, category and resample, (T, K, B)."""
        shape = len(self._thresholds), len(self._curves[area]), len(counts)
        precision, recall = np.full(shape, np.nan), np.full(shape, np.nan)
        for k, curve in enumerate(self._curves[area]):
            step = max(1, ELEMENTS // max(1, len(curve.image)))
            for start in range(0, len(counts), step):
                rows = slice(start, start + step)
                precision[:, k, rows], recall[:, k, rows] = _score(
                    curve, counts[rows], self._recalls
                )
        return precision, recall


def match(
    truth: str | Path,
    predictions: str | Path,
    kind: str,
    image_ids: Iterable[int] | None = None,
    categories: Iterable[str] | None = None,
) -> COCOeval:
    """Ground truth and detections in COCO's formats -> pycocotools' matches.

    Minutes for COCO val: pycocotools matches in Python.

    Args:
        kind: 'bbox' or 'segm'.
        image_ids: images that were evaluated, default all of the ground truth.
        categories: names of the classes that were evaluated, default all.

    Raises:
        InputError: a file that can't be read, an unknown image or category.
    """
    with redirect_stdout(io.StringIO()):
        try:
            coco = COCO(str(truth))
            found = json.loads(Path(predictions).read_text())
            if kind == "segm":
                # with a box at hand COCO sorts a mask into small, medium, large by the box's area
                for detection in found:
                    detection.pop("bbox", None)
            evaluation = COCOeval(coco, _detections(coco, found), kind)
            if image_ids is not None:
                evaluation.params.imgIds = _known(image_ids, coco.imgs, "image id", truth)
            if categories is not None:
                names = {category["name"]: key for key, category in coco.cats.items()}
                wanted = _known(categories, names, "category", truth)
                evaluation.params.catIds = [names[name] for name in wanted]
            evaluation.params.maxDets = list(MAX_DETECTIONS)
            evaluation.evaluate()
        except InputError:
            raise
        except (OSError, ValueError, AssertionError, KeyError, TypeError, AttributeError) as error:
            raise InputError(
                f"{predictions} can't be scored against {truth} ({type(error).__name__}: {error}); "
                "give the ground truth that the result was evaluated on."
            ) from error
    return evaluation


def _detections(coco: COCO, found: list[dict]) -> COCO:
    if found:
        return coco.loadRes(found)
    empty = COCO()
    empty.dataset = {**coco.dataset, "annotations": []}
    empty.createIndex()
    return empty


def _known(wanted: Iterable, held: Iterable, what: str, truth: str | Path) -> list:
    wanted = list(wanted)
    strangers = [item for item in wanted if item not in held]
    if strangers:
        raise InputError(
            f"{truth} has no {what} {strangers[0]!r} ({len(strangers)} such in all); give the "
            "ground truth that the result was evaluated on."
        )
    return wanted


class _Curve(NamedTuple):
    """A category in a range of area: its detections by falling score, the ignored left out."""

    objects: np.ndarray  # (N,) objects that count, by image
    image: np.ndarray  # (D,)
    hit: np.ndarray  # (T, D) bool, matched to an object that counts
    ignored: np.ndarray  # (T, D) bool, neither right nor wrong at this threshold
    group: np.ndarray  # (D,) first detection of equal score in the same image
    tied: np.ndarray  # (D,) bool, in a group where the order matters
    copy: np.ndarray | None = None  # (D,) what a tied detection stands for: the image's nth copy


def _curve(images: Sequence[dict | None], thresholds: int) -> _Curve:
    """One category's and area's part of ``evalImgs``, in the images' order."""
    objects = [0 if e is None else int((np.asarray(e["gtIgnore"]) == 0).sum()) for e in images]
    found = [(i, e) for i, e in enumerate(images) if e is not None and e["dtScores"]]
    scores = np.concatenate([e["dtScores"] for _, e in found] or [np.zeros(0)])
    nothing = [np.zeros((thresholds, 0), bool)]
    matched, ignored = (
        np.concatenate([e[key] for _, e in found] or nothing, axis=1).astype(bool)
        for key in ("dtMatches", "dtIgnore")
    )
    image = np.repeat([i for i, _ in found], [len(e["dtScores"]) for _, e in found]).astype(int)
    order = np.argsort(-scores, kind="stable")
    order = order[~ignored[:, order].all(0)]
    image, scores, ignored = image[order], scores[order], ignored[:, order]
    hit = matched[:, order] & ~ignored
    new = np.ones(len(order), bool)
    new[1:] = (np.diff(image) != 0) | (np.diff(scores) != 0)
    number = np.cumsum(new) - 1
    sizes, hits = np.bincount(number), np.bincount(number, weights=hit.any(0))
    tied = (sizes[number] > 1) & (hits[number] > 0) if len(order) else new
    return _Curve(np.array(objects), image, hit, ignored, np.flatnonzero(new)[number], tied)


def _with_copies(curve: _Curve, copies: int) -> _Curve:
    """Copy after copy of an image, as pycocotools meets its detections of equal score."""
    index = np.repeat(np.arange(len(curve.image)), np.where(curve.tied, copies, 1))
    first = np.r_[True, np.diff(index) != 0]
    place = np.arange(len(index))
    copy = place - np.maximum.accumulate(np.where(first, place, 0)) + 1
    order = np.lexsort((index, copy, curve.group[index]))
    index, copy = index[order], copy[order]
    spread = (array[..., index] for array in curve[1:6])
    return _Curve(curve.objects, *spread, copy)


def _score(curve: _Curve, counts: np.ndarray, recalls: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Counts (B, N) -> average precision and recall, (T, B); NaN without objects."""
    objects = counts @ curve.objects
    precision, recall = np.zeros((2, len(curve.hit), len(counts)))
    precision[:, objects == 0] = recall[:, objects == 0] = np.nan
    if not curve.hit.any() or not objects.any():
        return precision, recall
    if curve.tied.any():
        curve = _with_copies(curve, int(counts.max()))
    weight = np.take(counts, curve.image, axis=1)
    if curve.copy is not None:
        weight[:, curve.tied] = weight[:, curve.tied] >= curve.copy[curve.tied]
    seen = np.cumsum(weight, axis=1, dtype=np.int32)
    some = np.maximum(objects, 1)[:, None]
    # right detections that reach each recall, in the same division that pycocotools compares
    needed = np.floor(recalls * some).astype(int)
    needed = np.maximum(needed + (needed / some < recalls), 1)
    for t, (hit, ignored) in enumerate(zip(curve.hit, curve.ignored, strict=True)):
        hits = np.flatnonzero(hit)
        if not len(hits):
            continue
        times = weight[:, hits]
        right = np.cumsum(times, axis=1, dtype=np.int32)
        judged = seen[:, hits]
        if ignored.any():
            skipped = np.flatnonzero(ignored)
            passed = np.cumsum(weight[:, skipped], axis=1, dtype=np.int32)
            before = np.searchsorted(skipped, hits)
            judged = judged - np.where(before > 0, passed[:, before - 1], 0)
        ratio = right / (judged + np.spacing(1))
        best = np.maximum.accumulate(ratio[:, ::-1], axis=1)[:, ::-1]
        total = right[:, -1:].astype(int)
        # the best precision from the nth right detection on, all resamples in one row
        by_rank = np.r_[np.repeat(best.ravel(), times.ravel()), 0.0]
        place = np.cumsum(total, axis=0) - total + needed - 1
        place[needed > total] = -1
        known = objects > 0
        precision[t, known] = by_rank[place].mean(1)[known]
        recall[t, known] = (total[:, 0] / some[:, 0])[known]
    return precision, recall


def _mean(table: np.ndarray) -> np.ndarray:
    """(T, K, B) -> mean in percent over thresholds and the categories that occur, (B,)."""
    known = ~np.isnan(table)
    number = known.sum((0, 1))
    total = np.where(known, table, 0).sum((0, 1))
    return np.where(number > 0, 100 * total / np.maximum(number, 1), np.nan)
