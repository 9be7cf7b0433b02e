"""How far a score may be trusted: over seeds by Student's t, over test images by the bootstrap.

The two answer different questions and are never added or mixed: how another pretraining would have
scored, and how these very weights would have scored on other images.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy import stats

from semaim_mm.errors import InputError
from semaim_mm.leaderboard.outcome_metrics import SampleMetric

OVER_IMAGES = "over test images, these weights"
OVER_PRETRAINING = "over pretraining seeds"
OVER_FITTING = "over finetuning seeds, one pretraining"
LEVEL = 0.95
RESAMPLES = 2000
ELEMENTS = 1 << 22  # numbers in an array of resamples by images


@dataclass(frozen=True)
class Interval:
    """A score with how far it may be trusted; in the metric's own unit.

    ``over`` says what would be drawn anew, ``n`` how many of it there are. ``low`` and ``high`` are
    None where nothing can be said, and ``note`` says why.
    """

    over: str
    value: float
    low: float | None
    high: float | None
    sd: float | None
    n: int
    level: float
    method: str
    note: str | None = None


def over_seeds(
    values: Sequence[float], over: str = OVER_PRETRAINING, drawn: str = "seeds"
) -> Interval:
    """A score a seed -> mean, standard deviation (n - 1) and Student's t interval.

    One seed has neither, and is marked so. ``drawn`` is what notes call that which has a score.
    Raises InputError without a value or for NaN.
    """
    scores = np.asarray(values, dtype=np.float64)
    if not scores.size or not np.isfinite(scores).all():
        raise InputError(
            f"An interval {over} was asked of {scores.size} scores, "
            f"{int((~np.isfinite(scores)).sum())} of them not finite; leave out what has no score."
        )
    n, mean = scores.size, float(scores.mean())
    if n == 1:
        return Interval(over, mean, None, None, None, n, LEVEL, "t", "n = 1: no spread is known")
    sd = float(scores.std(ddof=1))
    if sd <= 1e-9:  # rounding alone makes no spread
        note = f"all {n} {drawn} have the same score, so no spread is known"
        return Interval(over, mean, None, None, 0.0, n, LEVEL, "t", note)
    low, high = stats.t.interval(LEVEL, n - 1, loc=mean, scale=sd / np.sqrt(n))
    return Interval(over, mean, float(low), float(high), sd, n, LEVEL, "t")


def over_pretrainings(scores: Mapping[str, Sequence[float]], own: str | None = None) -> Interval:
    """Scores by pretraining run -> the interval over pretraining seeds, a run counting once.

    A run's several finetunings are averaged first: they are no further pretrainings. ``own``:
    what every run was given one of, as ``own_training`` has it.
    """
    return over_seeds([float(np.mean(values)) for values in scores.values()], over_both(own))


def over_both(own: str | None) -> str:
    """'finetuning', where every pretraining has one of its own -> what the seeds' interval is over.

    Its spread is that of both, which one finetuning a pretraining can't tell apart.
    """
    return f"{OVER_PRETRAINING}, each with its own {own}" if own else OVER_PRETRAINING


def over_images(
    metric: SampleMetric,
    resamples: int = RESAMPLES,
    seed: int = 0,
    limits: tuple[float, float] = (-np.inf, np.inf),
) -> dict[str, Interval]:
    """Metrics on resampled images -> their percentile bootstrap intervals, centred on the score.

    Images are drawn with replacement, copies count as images of their own, and each resample has
    the data set's metric computed anew. Two metrics of as many images meet the same resamples.

    What is covered is the score expected on another test set of as many images. AP is higher by
    expectation on a smaller set, and again higher on a resample, which has fewer different images
    (tools/coverage_simulation.py measures both); moving the resamples' mean onto the score takes
    the second away, and is nothing for metrics that don't depend on the set's size.
    """
    once = metric.values(np.ones((1, metric.n), dtype=np.int32))
    found = [metric.values(counts) for counts in draws(metric.n, resamples, seed)]
    return {
        name: _centred(
            float(value[0]), np.concatenate([values[name] for values in found]), metric.n, limits
        )
        for name, value in once.items()
        if np.isfinite(value[0])
    }


def draws(n: int, resamples: int, seed: int = 0) -> Iterator[np.ndarray]:
    """How often each of ``n`` images is drawn, (rows, n) int32 a piece, all rows ``resamples``."""
    random = np.random.default_rng(seed)
    step = max(1, ELEMENTS // n)
    for start in range(0, resamples, step):
        rows = min(step, resamples - start)
        counts = np.empty((rows, n), dtype=np.int32)
        for row in counts:
            # drawn in 32 bits and counted in 64: each is the faster by far
            drawn = random.integers(0, n, n, dtype=np.int32).astype(np.intp)
            row[:] = np.bincount(drawn, minlength=n)
        yield counts


def _centred(value: float, drawn: np.ndarray, n: int, limits: tuple[float, float]) -> Interval:
    method = f"percentile bootstrap, centred, {len(drawn)} resamples"
    empty = Interval(OVER_IMAGES, value, None, None, None, n, LEVEL, method)
    known = drawn[np.isfinite(drawn)]
    if len(known) < 0.99 * len(drawn):
        note = f"{len(drawn) - len(known)} of {len(drawn)} resamples have nothing to score"
        return replace(empty, note=note)
    # rounding alone makes no spread
    if np.ptp(known) <= 1e-9:
        return replace(empty, note="every resample has the same score, so no spread is known")
    tails = [(1 - LEVEL) / 2, (1 + LEVEL) / 2]
    # of few resamples the outermost share is less than it seems; this definition allows for that
    ends = np.quantile(known, tails, method="weibull") - known.mean() + value
    ends = np.clip(ends, *limits)
    sd = float(known.std(ddof=1))
    return replace(empty, low=float(ends[0]), high=float(ends[1]), sd=sd)
