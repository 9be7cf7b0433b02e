"""The one or two comparisons that were declared beforehand: the only ones that say "better".

Differences are paired over pretraining seeds and tested by Student's t; p values are corrected
(Holm) over all tests that the declared pairs ask for, and none is judged before its declared seeds
are there: a verdict is the same whenever somebody looks.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy import stats

from semaim_mm.errors import InputError
from semaim_mm.leaderboard.collect import Trusted
from semaim_mm.leaderboard.intervals import (
    OVER_PRETRAINING,
    RESAMPLES,
    Interval,
    over_both,
    over_images,
    over_seeds,
)
from semaim_mm.leaderboard.outcome_metrics import Combination, Outcomes
from semaim_mm.leaderboard.plan import Plan
from semaim_mm.leaderboard.scores import (
    RowKey,
    apart,
    check_same_images,
    groups_of,
    headline_of,
    key_of,
    own_training,
    scores_by_run,
    seed_clash,
    shares,
    training_clash,
)
from semaim_mm.leaderboard.significance import ALPHA, holm, smallest_difference

MOST = 2  # comparisons that a specification may declare
Sides = tuple[list[Trusted], list[Trusted]]  # the results of a pair's two rows


@dataclass(frozen=True)
class Pair:
    """Two rows' scores with one pretraining seed; several finetunings of a seed are averaged."""

    seed: int
    first: float
    second: float


@dataclass(frozen=True)
class Difference:
    """First minus second in one group's headline metric; ``task`` is '' where no group has both.

    ``p`` is the paired t test's over pretraining seeds, ``corrected`` Holm's; ``detectable`` the
    smallest true difference that so many seeds show four times in five. Each is None where the
    seeds can't say, and ``verdict`` says so. ``better`` names the method, if the test does.
    ``variant``: what tells it from the pair's others in this group, '' where there is one.
    """

    first: str
    second: str
    verdict: str
    arch: str = ""
    task: str = ""
    fingerprint: str = ""
    data: str = ""
    metric: str = ""
    pairs: tuple[Pair, ...] = ()
    over_pretraining: Interval | None = None
    over_images: Interval | None = None
    no_images: str | None = None
    p: float | None = None
    corrected: float | None = None
    detectable: float | None = None
    better: str | None = None
    variant: str = ""


def compare(
    results: Sequence[Trusted],
    declared: Sequence[Sequence[str]],
    outcomes: Outcomes | None = None,
    resamples: int = RESAMPLES,
    plan: Plan | None = None,
) -> list[Difference]:
    """Declared pairs of methods -> a difference for every group that has both.

    Args:
        declared: (first, second) method names, at most MOST pairs, declared before anything ran.
        outcomes: what was kept by image; without, there is no interval over images.
        plan: the tests that a suite asked for. Those without results count among the tests, and
            nothing is called better before all of a test's seeds are there.

    Raises:
        InputError: too many pairs, or one that names a method twice.
    """
    check_declared(declared)
    plan = plan or Plan()
    found: list[tuple[Difference, Sides]] = []
    met, tests = set(), 0
    for pair in declared:
        before = len(found)
        for rows in groups_of(results).values():
            for difference, sides in _differences(_sides(rows, *pair)):
                both = [*sides[0], *sides[1]]
                asked = plan.tests_of(pair, both)
                met |= asked
                paired = [seeds.seed for seeds in difference.pairs]
                difference = _awaited(difference, *plan.progress(asked, both, paired))
                found.append((difference, sides))
                tests += 1
        if len(found) == before:
            verdict = (
                f"{pair[0]} and {pair[1]} have no results yet under one protocol, on the same data "
                "and of the same size, so nothing is tested."
            )
            found.append((Difference(*pair, verdict), ([], [])))
            # where a suite asks for the pair's tests, these are counted in its place
            tests += not any(test[:2] == tuple(pair) for test in plan.tests)
    tests += len(plan.tests.keys() - met)
    corrected = holm([difference.p for difference, _ in found], tests)
    judged = [
        _judged(_with_images(difference, sides, outcomes, resamples), value, tests)
        for (difference, sides), value in zip(found, corrected, strict=True)
    ]
    return [
        replace(item, verdict=f"{item.variant}: {item.verdict}") if item.variant else item
        for item in judged
    ]


def check_declared(declared: Sequence[Sequence[str]]) -> None:
    """Raise InputError for more than MOST comparisons, or one of a method with itself."""
    if len(declared) > MOST:
        raise InputError(
            f"{len(declared)} comparisons are declared; a specification declares at most {MOST}, "
            "those that it was made for. Every further one costs the others power."
        )
    for pair in declared:
        if len(pair) != 2 or pair[0] == pair[1]:
            raise InputError(
                f"A comparison is of two different methods, not of {' and '.join(pair) or 'none'}."
            )


def _sides(rows: dict[RowKey, list[Trusted]], first: str, second: str) -> list[Sides]:
    """The rows of a group that two names mean; with several rows a name, those alike otherwise."""
    ours = {key: found for key, found in rows.items() if key.method == first}
    theirs = {key: found for key, found in rows.items() if key.method == second}
    if len(ours) == len(theirs) == 1:
        return [(*ours.values(), *theirs.values())]
    found = []
    for arch in sorted({key.arch for key in ours}):
        left = [key for key in ours if key.arch == arch]
        right = [key for key in theirs if key.arch == arch]
        if len(left) == len(right) == 1:
            found.append((left[0], right[0]))
        else:
            alike = [(key, key._replace(method=second)) for key in left]
            found += [pair for pair in alike if pair[1] in theirs]
    return [(ours[mine], theirs[other]) for mine, other in found]


def _differences(sides: Sequence[Sides]) -> list[tuple[Difference, Sides]]:
    """Rows of one pair in one group -> a difference each, which says what tells it apart."""
    keys = [key_of(ours[0]) for ours, _ in sides]
    return [
        (replace(_difference(*pair), variant=", ".join(apart(key, keys))), pair)
        for key, pair in zip(keys, sides, strict=True)
    ]


def _difference(ours: list[Trusted], theirs: list[Trusted]) -> Difference:
    """Everything but the images and what depends on the other tests."""
    metric = headline_of([*ours, *theirs])
    clash = seed_clash(ours) or seed_clash(theirs) or training_clash([*ours, *theirs])
    left, right = _by_seed(ours, metric), _by_seed(theirs, metric)
    seeds = [] if clash else sorted(set(left) & set(right))
    pairs = tuple(Pair(seed, left[seed], right[seed]) for seed in seeds)
    differences = [pair.first - pair.second for pair in pairs]
    own = own_training(ours) or own_training(theirs)
    interval = over_seeds(differences, over_both(own)) if pairs else None
    p = None
    if interval is not None and interval.sd:
        p = float(stats.ttest_1samp(differences, 0).pvalue)
    content = ours[0].content
    archs = sorted({found[0].content["arch"] for found in (ours, theirs)})
    return Difference(
        first=content["method"],
        second=theirs[0].content["method"],
        verdict=clash or "",
        arch=" and ".join(archs),
        task=content["task"],
        fingerprint=content["fingerprint"],
        data=ours[0].group[2],
        metric=metric,
        pairs=pairs,
        over_pretraining=interval,
        p=p,
    )


def _by_seed(results: list[Trusted], metric: str) -> dict[int, float]:
    seeds = {result.run: result.seeds.pretraining for result in results}
    return {
        seeds[run]: float(np.mean(scores))
        for run, scores in scores_by_run(results, metric).items()
        if seeds[run] is not None
    }


def _with_images(
    difference: Difference,
    sides: Sides,
    outcomes: Outcomes | None,
    resamples: int,
) -> Difference:
    """Both rows' mean on the same resampled images: all their weights, paired or not."""
    ours, theirs = sides
    if outcomes is None or not ours:
        return replace(difference, no_images=None if not ours else "not asked for")
    try:
        check_same_images([*ours, *theirs])
        both = Combination(
            [outcomes(result) for result in (*ours, *theirs)],
            [*shares(ours), *shares(theirs, -1.0)],
        )
    except InputError as error:
        return replace(difference, no_images=str(error))
    found = over_images(both, resamples).get(difference.metric)
    reason = None if found else f"what was kept by image does not give {difference.metric}"
    return replace(difference, over_images=found, no_images=reason)


def _awaited(difference: Difference, there: int, declared: int) -> Difference:
    """A difference of which declared seeds are not there yet is told, and not tested."""
    interval = difference.over_pretraining
    if difference.verdict or interval is None or there == declared:
        return difference
    verdict = (
        f"{difference.first} differs from {difference.second} by {interval.value:+z.2f}: nothing "
        f"is called better before all {declared} declared seeds are there ({there} so far)."
    )
    return replace(difference, p=None, verdict=verdict)


def _judged(difference: Difference, corrected: float | None, tests: int) -> Difference:
    """Add what the seeds show, in a sentence; ``tests`` is how many p was corrected over."""
    interval, n = difference.over_pretraining, len(difference.pairs)
    first, second = difference.first, difference.second
    if difference.verdict:
        return difference
    if interval is None:
        verdict = f"{first} and {second} share no pretraining seed, so nothing is tested."
        return replace(difference, verdict=verdict)
    if corrected is None:
        why = "one seed" if n == 1 else f"{n} seeds with one and the same difference"
        verdict = f"{first} is {interval.value:+z.2f} from {second} with {why}: nothing is tested."
        return replace(difference, verdict=verdict)
    size = smallest_difference(interval.sd, n, ALPHA / tests)  # as in Holm's first step
    # z: never a negative zero, as in the columns
    found = f"{interval.value:+z.2f} ({interval.low:+z.2f} to {interval.high:+z.2f}) over {n} seeds"
    found += interval.over.removeprefix(OVER_PRETRAINING)
    if corrected < ALPHA:
        better, worse = (first, second) if interval.value > 0 else (second, first)
        verdict = f"{better} is better than {worse}: {first} differs by {found}."
    else:
        better = None
        verdict = f"No difference is shown: {first} differs from {second} by {found}."
    over = f" over {tests} tests" if tests > 1 else ""
    verdict += f" Corrected p = {corrected:.3g}{over}; "
    verdict += f"these seeds could have shown {size:.2f} or more."
    return replace(difference, corrected=corrected, detectable=size, better=better, verdict=verdict)
