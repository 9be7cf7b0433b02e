"""A data set's metrics from what an evaluation kept of each image, for any resample of the images.

Legend: B resamples, N images, C classes.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol
from zipfile import BadZipFile

import numpy as np

from semaim_mm.errors import InputError
from semaim_mm.interop.checkpoint_file import sha256_of
from semaim_mm.leaderboard.coco_resample import ResampledCoco, match
from semaim_mm.leaderboard.collect import Trusted, mapping

COUNTS = ("intersection", "union", "predicted", "label")  # those of dense/iou_metric.py
TOLERANCE = 1e-6  # percent; what is recomputed must be what was reported


class SampleMetric(Protocol):
    """Metrics in percent as functions of how often each of ``n`` images is drawn."""

    n: int

    def values(self, counts: np.ndarray) -> dict[str, np.ndarray]:
        """(B, N) whole numbers -> metrics by name, (B,); NaN where a resample has none."""


class Accuracy:
    """top1 of images that are right or wrong, ``correct`` (N,)."""

    def __init__(self, correct: np.ndarray):
        self.n = len(correct)
        self._correct = np.asarray(correct, dtype=np.float64)

    def values(self, counts: np.ndarray) -> dict[str, np.ndarray]:
        return {"top1": 100 * (counts @ self._correct) / counts.sum(1)}


class Overlap:
    """aAcc, mIoU and mAcc, from pixels by image and class, (N, C) each.

    Pixels are added over the images drawn before anything is divided; a class that is not there is
    left out of a mean, as mmseg does.
    """

    def __init__(self, intersection: np.ndarray, union: np.ndarray, label: np.ndarray):
        self.n = len(union)
        self._pixels = np.concatenate([intersection, union, label], axis=1, dtype=np.float64)

    def values(self, counts: np.ndarray) -> dict[str, np.ndarray]:
        hits, union, label = np.split(counts @ self._pixels, 3, axis=1)
        everything = label.sum(1)
        right = np.where(everything > 0, hits.sum(1) / np.maximum(everything, 1), np.nan)
        return {
            "aAcc": 100 * right,
            "mIoU": 100 * _mean_ratio(hits, union),
            "mAcc": 100 * _mean_ratio(hits, label),
        }


class Detection:
    """bbox_mAP, ..., segm_AR@100: each kind's matches under its name."""

    def __init__(self, kinds: Mapping[str, ResampledCoco]):
        self._kinds = dict(kinds)
        self.n = next(iter(self._kinds.values())).n

    def values(self, counts: np.ndarray) -> dict[str, np.ndarray]:
        found = {kind: metric.values(counts) for kind, metric in self._kinds.items()}
        return {f"{kind}_{k}": v for kind, values in found.items() for k, v in values.items()}


class Combination:
    """The weighted sum of metrics of several results on the same images: a mean, a difference.

    Raises:
        InputError: another number of images in one of them.
    """

    def __init__(self, metrics: Sequence[SampleMetric], weights: Sequence[float]):
        sizes = sorted({metric.n for metric in metrics})
        if len(sizes) != 1:
            raise InputError(
                f"Results on {' and '.join(map(str, sizes))} images can't be resampled together; "
                "compare results on the same images."
            )
        self.n = sizes[0]
        self._parts = list(zip(metrics, weights, strict=True))

    def values(self, counts: np.ndarray) -> dict[str, np.ndarray]:
        found = [(metric.values(counts), weight) for metric, weight in self._parts]
        shared = set.intersection(*(set(values) for values, _ in found))
        names = [name for name in found[0][0] if name in shared]
        return {name: sum(weight * values[name] for values, weight in found) for name in names}


class Outcomes:
    """Results -> their metrics on any resample; each is read, and COCO's matched, once.

    Args:
        truth: COCO annotation files by their own SHA-256, the data's name or its manifest's.
    """

    def __init__(self, truth: Mapping[str, str | Path] | None = None):
        self._truth, self._found = dict(truth or {}), {}

    def __call__(self, result: Trusted) -> SampleMetric:
        """What ``outcome_metric`` gives or raises."""
        digest = result.content["digest"]
        if digest not in self._found:
            try:
                self._found[digest] = outcome_metric(result, self._truth)
            except InputError as error:
                self._found[digest] = error
        if isinstance(self._found[digest], InputError):
            raise self._found[digest]
        return self._found[digest]


def outcome_metric(result: Trusted, truth: Mapping[str, str | Path] | None = None) -> SampleMetric:
    """A result -> its metrics on any resample of its images.

    Args:
        truth: COCO annotation files by their own SHA-256, the data's name or its manifest's
            SHA-256; detections need them, unless the result's own still lies where it was.

    Raises:
        InputError: nothing was kept by image, or only values by image whose mean would be another
            metric; a file is missing or was edited; the result's own metrics don't come out.
    """
    arrays = _arrays(result)
    predictions = mapping(result.content["run"].get("predictions"))
    if predictions:
        metric = Detection(_kinds(result, predictions, arrays, truth or {}))
    elif set(COUNTS) <= set(arrays):
        metric = Overlap(arrays["intersection"], arrays["union"], arrays["label"])
    elif "correct" in arrays and np.isin(arrays["correct"], (0, 1)).all():
        metric = Accuracy(arrays["correct"])
    elif arrays:
        raise InputError(
            f"{result.path} kept {', '.join(arrays)} by image. The mean of a value by image is not "
            "the data set's metric (AP and IoU divide once, over all images), so it gets no "
            f"interval; keep 'correct' as right or wrong, {', '.join(COUNTS)} as pixels by image "
            "and class, or COCO's detections."
        )
    else:
        raise InputError(
            f"{result.path} kept nothing by image, so there is no interval over images."
        )
    _check(result, metric)
    return metric


def _arrays(result: Trusted) -> dict[str, np.ndarray]:
    name = result.content["outcomes"]
    if name is None:
        return {}
    path = result.path.parent / Path(name).name
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {key: file[key] for key in file.files}
    except (OSError, ValueError, EOFError, BadZipFile) as error:
        raise InputError(f"{path} is not readable ({error}); evaluate again.") from error
    if sha256_of(path) != result.content["outcomes_sha256"]:
        raise InputError(f"{path} was changed after it was written; evaluate again.")
    wrong = [key for key, array in arrays.items() if len(array) != result.content["n_evaluated"]]
    if wrong:
        raise InputError(
            f"{path}: {wrong[0]} has {len(arrays[wrong[0]])} entries for "
            f"{result.content['n_evaluated']} images; evaluate again."
        )
    return arrays


def _kinds(
    result: Trusted,
    predictions: Mapping[str, Mapping[str, str]],
    arrays: Mapping[str, np.ndarray],
    truth: Mapping[str, str | Path],
) -> dict[str, ResampledCoco]:
    run, annotations = result.content["run"], _annotations(result, truth)
    ids = arrays.get("image_id")
    kinds = {}
    for kind, record in predictions.items():
        path = result.path.parent / Path(str(mapping(record).get("file"))).name
        if not path.is_file() or sha256_of(path) != record.get("sha256"):
            raise InputError(
                f"{path} is missing or was edited since the evaluation; evaluate again."
            )
        # a category without objects has no AP, so those named here are all that count
        names = mapping(run.get("per_class")).get(kind)
        kinds[kind] = ResampledCoco(
            match(annotations, path, kind, None if ids is None else ids.tolist(), names)
        )
        if kinds[kind].n != result.content["n_evaluated"]:
            raise InputError(
                f"{annotations} has {kinds[kind].n} images, but {result.path} was evaluated on "
                f"{result.content['n_evaluated']}; give the annotations of that test set."
            )
    return kinds


def _annotations(result: Trusted, truth: Mapping[str, str | Path]) -> str | Path:
    """-> the file that a result's detections were scored against: the one of the recorded content.

    One that is named for its data is taken without a match too: the scores must come out of it.
    """
    data, run = result.content["data"], result.content["run"]
    stated = mapping(run.get("ground_truth"))
    digest = stated.get("sha256") or data.get("annotations_sha256")
    named = [truth.get(data["manifest_sha256"]), truth.get(data["name"])]
    places = [truth.get(str(digest)), *named]
    if isinstance(stated.get("file"), str):
        places.append(result.path.parent / stated["file"])
    found = [place for place in places if place and Path(place).is_file()]
    matching = (place for place in found if digest and sha256_of(place) == digest)
    chosen = next(matching, None) or next((place for place in named if place), None)
    if chosen is None:
        content = f" (SHA-256 {str(digest)[:16]}...)" if digest else ""
        was = ", and the file that was used is gone or was changed" if stated else ""
        raise InputError(
            f"{result.path}: an interval of AP needs the annotations of {data['name']}{content}"
            f"{was}; name their file with --truth."
        )
    return chosen


def _check(result: Trusted, metric: SampleMetric) -> None:
    """Drawn once each, the images must give the metrics that the result reports."""
    reported: dict[str, Any] = result.content["metrics"]
    for name, value in metric.values(np.ones((1, metric.n), dtype=np.int64)).items():
        stated = reported.get(name, {}).get("value")
        if stated is not None and not abs(stated - value[0]) <= TOLERANCE:
            raise InputError(
                f"{result.path} reports {name} {stated:.6f}, but what it kept by image gives "
                f"{value[0]:.6f}; the files don't belong together. Evaluate again."
            )


def _mean_ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """(B, C) each -> mean over the classes that are there, (B,)."""
    known = whole > 0
    ratios = np.where(known, part / np.where(known, whole, 1), 0)
    number = known.sum(1)
    return np.where(number > 0, ratios.sum(1) / np.maximum(number, 1), np.nan)
