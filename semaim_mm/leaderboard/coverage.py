"""Do the intervals hold? Test sets drawn from populations whose score is known, over and over.

A population is a large set of synthetic images that a synthetic model has scored; a test set is
drawn from it with replacement, so that the population's own score is that of endless images.
"""

import io
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout
from copy import copy
from types import SimpleNamespace
from typing import NamedTuple

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from scipy.special import ndtr

from semaim_mm.leaderboard.coco_resample import ResampledCoco
from semaim_mm.leaderboard.intervals import over_images, over_seeds
from semaim_mm.leaderboard.outcome_metrics import Accuracy, Combination, Overlap, SampleMetric

SIDE = 600  # pixels, of the synthetic detection images
AREAS = [[0, 1e10]]


class Population(NamedTuple):
    """``size`` images, and the metric on any of them: ``on(indices (N,)) -> SampleMetric``."""

    size: int
    on: Callable[[np.ndarray], SampleMetric]


def coverage(
    population: Population,
    metric: str,
    images: int,
    repetitions: int,
    resamples: int,
    seed: int = 0,
) -> dict[str, float]:
    """Draw test sets, compute their intervals over images, count those that hold the truth.

    Returns:
        ``covered``: share of intervals that hold ``expected``, the score that test sets of this
        size have on average (from four times as many sets). ``covered_population`` and
        ``population``: the same for the score on endless images. ``sd`` and ``interval_sd``: the
        spread of the scores drawn, and what the intervals say of it on average.
    """
    random = np.random.default_rng(seed)
    everything = population.on(np.arange(population.size))
    truth = float(everything.values(np.ones((1, population.size), dtype=np.int32))[metric][0])
    intervals, scores = [], []
    for repetition in range(4 * repetitions):
        drawn = population.on(random.integers(0, population.size, images))
        if repetition < repetitions:
            intervals.append(over_images(drawn, resamples, seed=repetition)[metric])
            scores.append(intervals[-1].value)
        else:
            scores.append(float(drawn.values(np.ones((1, images), dtype=np.int32))[metric][0]))
    expected = float(np.mean(scores))
    low, high = (np.array([getattr(i, end) for i in intervals]) for end in ("low", "high"))
    return dict(
        covered=float(np.mean((low <= expected) & (expected <= high))),
        covered_population=float(np.mean((low <= truth) & (truth <= high))),
        expected=expected,
        population=truth,
        sd=float(np.std(scores)),
        interval_sd=float(np.mean([interval.sd for interval in intervals])),
    )


def seed_coverage(seeds: int, repetitions: int, seed: int = 0) -> dict[str, float]:
    """The same for t intervals over normally spread scores of ``seeds`` seeds."""
    scores = np.random.default_rng(seed).normal(80, 0.3, (repetitions, seeds))
    intervals = [over_seeds(row) for row in scores]
    covered = float(np.mean([interval.low <= 80 <= interval.high for interval in intervals]))
    return dict(covered=covered, expected=80.0, sd=0.3)


def classifier(accuracy: float, size: int = 200_000) -> Population:
    """Images that are right with this probability."""
    correct = np.random.default_rng(0).random(size) < accuracy
    return Population(size, lambda images: Accuracy(correct[images]))


def two_classifiers(accuracy: float, gain: float, size: int = 200_000) -> Population:
    """The difference of two classifiers that mostly fail on the same images."""
    random = np.random.default_rng(0)
    hardness, own = random.normal(size=size), random.normal(scale=0.5, size=(2, size))
    spread = np.sqrt(1.25)
    edges = np.quantile(random.normal(scale=spread, size=size), [accuracy + gain, accuracy])
    correct = hardness + own < edges[:, None]
    return Population(
        size,
        lambda images: Combination([Accuracy(c[images]) for c in correct], [1.0, -1.0]),
    )


def segmenter(classes: int, present: float, size: int = 20_000) -> Population:
    """Label maps of 10,000 pixels: few classes each, the nth of frequency 1 / n, some hard."""
    random = np.random.default_rng(0)
    often = 1 / np.arange(1, classes + 1)
    often /= often.sum()
    skill = random.uniform(-0.5, 2, classes)
    hits, ours, theirs = np.zeros((3, size, classes))
    for image in range(size):
        seen = np.unique(random.choice(classes, 1 + random.poisson(present), p=often))
        area = np.floor(random.dirichlet(np.full(len(seen), 0.7)) * 10_000)
        luck = random.normal(scale=0.7) + random.normal(scale=0.8, size=len(seen))
        right = np.round(area * ndtr(skill[seen] - luck))
        elsewhere = random.choice(classes, len(seen), p=often)
        taken_for = np.where(random.random(len(seen)) < 0.7, random.permutation(seen), elsewhere)
        right = np.where(taken_for == seen, area, right)
        hits[image, seen], theirs[image, seen], ours[image, seen] = right, area, right
        np.add.at(ours[image], taken_for, area - right)
    union = ours + theirs - hits
    return Population(size, lambda images: Overlap(hits[images], union[images], theirs[images]))


def detector(classes: int, objects: float, size: int = 6_000) -> Population:
    """Boxes of objects, the nth class of frequency 1 / n, and of a detector that finds most."""
    random = np.random.default_rng(0)
    often = 1 / np.arange(1, classes + 1)
    often /= often.sum()
    truth, found = [], []
    for image in range(1, size + 1):
        hardness = random.normal(scale=0.7)
        for category in random.choice(classes, random.poisson(objects), p=often) + 1:
            sides = random.uniform(0.6, 1.4, 2) * random.choice([20, 60, 130])
            box = np.concatenate([random.uniform(0, 400, 2), sides])
            entry = dict(image_id=image, category_id=int(category))
            truth.append(
                dict(entry, id=len(truth) + 1, bbox=box, area=float(sides.prod()), iscrowd=0)
            )
            clarity = random.normal(1.5) - hardness
            if clarity > -0.5:
                noise = random.normal(scale=0.03 + 0.12 * np.exp(-clarity), size=4)
                moved = [*(box[:2] + sides * noise[:2]), *(sides * np.exp(noise[2:]))]
                if random.random() > 0.95:
                    entry["category_id"] = int(random.choice(classes, p=often)) + 1
                score = ndtr(clarity - 0.5 + random.normal(scale=0.6))
                found.append(dict(entry, bbox=moved, score=float(score)))
        for category in random.choice(classes, random.poisson(2.5), p=often) + 1:
            side = float(random.choice([20, 60, 130]))
            box = [*random.uniform(0, 400, 2), side, side]
            score = ndtr(random.normal(-1.3, 0.8) + 0.5 * hardness)
            entry = dict(image_id=image, category_id=int(category), bbox=box)
            found.append(dict(entry, score=float(score)))
    with redirect_stdout(io.StringIO()):
        coco = COCO()
        coco.dataset = dict(
            images=[dict(id=image, width=SIDE, height=SIDE) for image in range(1, size + 1)],
            categories=[dict(id=k, name=str(k)) for k in range(1, classes + 1)],
            annotations=truth,
        )
        coco.createIndex()
        evaluation = COCOeval(coco, coco.loadRes(found), "bbox")
        evaluation.params.areaRng = AREAS
        evaluation.evaluate()
    return Population(size, lambda images: ResampledCoco(_of_images(evaluation, images)))


def _of_images(evaluation: COCOeval, images: Sequence[int]) -> SimpleNamespace:
    """The part of an evaluation that some of its images have; one may come several times."""
    params, per_image = copy(evaluation.params), evaluation.evalImgs
    size = len(params.imgIds)
    params.imgIds = list(range(len(images)))
    found = [per_image[start + i] for start in range(0, len(per_image), size) for i in images]
    return SimpleNamespace(params=params, evalImgs=found)
