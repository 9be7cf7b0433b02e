"""Do cheap measures foretell dense scores? Rank correlation over a leaderboard's methods.

Means over seeds; the bootstrap draws seeds anew, the same ones for every method and measure.
Several pretrainings of one method count as methods of their own.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from scipy.stats import rankdata

from semaim_mm.analysis.figures import proxy_figure, save
from semaim_mm.analysis.loss_target import UNKNOWN, short, targets_of
from semaim_mm.analysis.proxy_scores import (
    Scores,
    met_on_one_side,
    names_of,
    scores_of,
    trains_no_backbone,
)
from semaim_mm.analysis.write_json import write_json
from semaim_mm.errors import InputError
from semaim_mm.leaderboard.asked import asked_board, read_asked
from semaim_mm.leaderboard.intervals import LEVEL, RESAMPLES, Interval
from semaim_mm.leaderboard.model import Leaderboard
from semaim_mm.leaderboard.write.curves import POINTS, Curve, learning_curves

FEWEST = 4  # methods with both scores
DENSE = ("bbox_mAP", "segm_mAP", "mIoU")
LOSS = "pretraining loss"
OF_TRAINING = (
    f"Losses of training, as last logged; of a run with more than {POINTS} logged losses, the mean "
    "of its last few."
)


@dataclass(frozen=True)
class Pair:
    """A cheap and a dense measure, what is to be known beside their correlation.

    ``cheap`` holds what can be compared alone; ``values`` are the means by method that both have.
    """

    names: tuple[str, str]
    cheap: Scores
    dense: Scores
    note: str | None = None

    @property
    def name(self) -> str:
        return " -> ".join(self.names)

    @property
    def values(self) -> dict[str, tuple[float, float]]:
        shared = sorted(self.cheap.keys() & self.dense.keys())
        means = [[float(np.mean(list(s[m].values()))) for s in (self.cheap, self.dense)]
                 for m in shared]  # fmt: skip
        return {method: tuple(pair) for method, pair in zip(shared, means, strict=True)}


def last_losses(curves: Sequence[Curve], held_out: bool = False) -> Scores:
    """Learning curves -> minus the last pretraining loss, so that more is better, as scores are.

    Of training, or with ``held_out`` of held-out images: then of the runs that validated it.
    """
    found: dict[str, dict[int, float]] = {}
    for curve in curves:
        loss = curve.held_out if held_out else curve.losses[-1]
        if curve.part == "pretraining" and curve.seed is not None and loss is not None:
            found.setdefault(curve.method, {})[curve.seed] = -loss
    return found


def _comparable(
    curves: Sequence[Curve], dense: Scores, targets: Mapping[str, str]
) -> tuple[Scores, str | None]:
    """-> losses of one target, and of what: held-out where every run of every method has it."""
    kept, left = one_target(last_losses(curves), dense, targets)
    held_out, of = last_losses(curves, held_out=True), OF_TRAINING
    if kept and all(kept[m].keys() == held_out.get(m, {}).keys() for m in kept.keys() & dense):
        kept, of = {m: held_out[m] for m in kept if m in held_out}, "Losses on held-out images."
    if not kept.keys() & dense.keys():
        return kept, left
    # what is known before a patch is another question in another order
    return kept, " ".join(filter(None, (of, "A lower loss may be an easier order.", left)))


def spearman(first: np.ndarray, second: np.ndarray) -> float:
    """(M,) twice -> Spearman's rho with average ranks; NaN where one does not vary."""
    a, b = (rankdata(values) for values in (first, second))
    a, b = a - a.mean(), b - b.mean()
    norm = np.sqrt((a @ a) * (b @ b))
    return float(a @ b / norm) if norm else float("nan")


def validity(cheap: Scores, dense: Scores, name: str, resamples: int = RESAMPLES) -> Interval:
    """Scores of a cheap and a dense measure -> rho of the method means, its bootstrap interval.

    A resample draws seeds with replacement and takes each method's mean over those that it has
    there; one without any for some method is passed over. Methods are given, not drawn.

    Raises:
        InputError: fewer than FEWEST methods have both.
    """
    methods = sorted(cheap.keys() & dense.keys())
    if len(methods) < FEWEST:
        raise InputError(
            f"{name}: {len(methods)} methods have both scores ({', '.join(methods) or 'none'}), "
            f"and a rank correlation needs {FEWEST}; run more methods through both tasks."
        )
    means = (np.array([np.mean(list(s[m].values())) for m in methods]) for s in (cheap, dense))
    value = spearman(*means)
    if not np.isfinite(value):
        raise InputError(f"{name}: all {len(methods)} methods score the same, so none ranks.")
    seeds = sorted({seed for s in (cheap, dense) for m in methods for seed in s[m]})
    over = "over pretraining seeds, these methods"
    if len(seeds) < 2:
        note = "n = 1: no spread is known"
        return Interval(over, value, None, None, None, len(seeds), LEVEL, "bootstrap", note)
    random, drawn = np.random.default_rng(0), []
    for _ in range(resamples):
        chosen = random.choice(seeds, len(seeds))
        pair = [_means(scores, methods, chosen) for scores in (cheap, dense)]
        if None not in (pair[0], pair[1]):
            drawn.append(spearman(*map(np.array, pair)))
    drawn = [rho for rho in drawn if np.isfinite(rho)]
    if len(drawn) < resamples / 2:
        note = "too few resamples have a seed of every method"
        return Interval(over, value, None, None, None, len(seeds), LEVEL, "bootstrap", note)
    low, high = np.quantile(drawn, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    sd = float(np.std(drawn, ddof=1))
    return Interval(over, value, float(low), float(high), sd, len(seeds), LEVEL, "bootstrap")


def _means(scores: Scores, methods: list[str], seeds: np.ndarray) -> list[float] | None:
    found = []
    for method in methods:
        have = [scores[method][seed] for seed in seeds if seed in scores[method]]
        if not have:
            return None
        found.append(float(np.mean(have)))
    return found


def one_target(
    losses: Scores, dense: Scores, targets: Mapping[str, str]
) -> tuple[Scores, str | None]:
    """Losses, dense scores, each method's target -> the losses that compare, what was left out.

    Kept are the methods of the target that most methods with a dense score share, the first of
    several by its text; a method of unknown target never counts.
    """
    both = sorted(losses.keys() & dense.keys())
    shared: dict[str, list[str]] = {}
    for method in both:
        shared.setdefault(targets.get(method, UNKNOWN), []).append(method)
    known = sorted(shared.keys() - {UNKNOWN}, key=lambda target: (-len(shared[target]), target))
    kept = known[0] if known else None
    left = [f"{m} ({short(t)})" for t in sorted(shared) if t != kept for m in shared[t]]
    if not left:
        return losses, None
    of = f"Losses of {short(kept)} alone" if kept else "No losses"
    note = f"{of} can be compared; left out, for their losses are of other targets: "
    return {m: losses[m] for m in shared.get(kept, ())}, note + ", ".join(left)


def pairs(
    board: Leaderboard, curves: Sequence[Curve] = (), targets: Mapping[str, str] | None = None
) -> Iterator[Pair]:
    """A leaderboard -> every cheap measure with every dense one.

    Cheap are the pretraining loss and groups that train no backbone: features as they are, and
    probes. A loss is taken of methods of one target alone (``targets``, by method, of
    ``targets_of``), and of methods with one pretraining, as it is known by method only; a row that
    the leaderboard does not rank counts nowhere. What is left out is named.
    """
    names = names_of(board)
    cheap: dict[str, tuple[Scores, str | None]] = {}
    dense: dict[str, tuple[Scores, str | None]] = {}
    for group in board.groups:
        is_dense = group.headline in DENSE
        if is_dense or trains_no_backbone(group):
            place, name = dense if is_dense else cheap, group.task
            if name in place:  # one task under two protocols or on two data sets
                name = f"{name} {group.fingerprint[:8]}, {group.data}"
            scores, unranked = scores_of(group, names)
            note = f"Left out of {name}, which does not rank them: {', '.join(unranked)}"
            place[name] = scores, note if unranked else None
    several = {name: key[0] for key, name in names.items() if name != key[0]}
    for task, (scores, unranked) in dense.items():
        matched, unmatched = _matched(curves, scores, several)
        kept, note = _comparable(matched, scores, targets or {})
        yield Pair((LOSS, task), kept, scores, _joined(note, unmatched, unranked))
        for name, (values, note) in cheap.items():
            alone = met_on_one_side(values, scores, names)
            yield Pair((name, task), values, scores, _joined(note, unranked, alone))


def _matched(
    curves: Sequence[Curve], dense: Scores, several: Mapping[str, str]
) -> tuple[list[Curve], str | None]:
    """Names whose method has several pretrainings -> curves of the others, what was left out."""
    methods = set(several.values())
    traced = {curve.method for curve in curves if curve.part == "pretraining"}
    left = sorted({several[name] for name in dense.keys() & several.keys()} & traced)
    told = f"Left out, as any of several pretrainings may have had that loss: {', '.join(left)}"
    return [curve for curve in curves if curve.method not in methods], told if left else None


def _joined(*notes: str | None) -> str | None:
    return ". ".join(note for note in notes if note) or None


def proxy_validity(asked: Sequence[Pair]) -> dict[str, Interval | str]:
    """Pairs -> 'cheap task -> dense task': rho with its interval, or why there is none.

    Raises:
        InputError: no pair has FEWEST methods.
    """
    found: dict[str, Interval | str] = {}
    for pair in asked:
        try:
            rho = validity(pair.cheap, pair.dense, " and ".join(pair.names))
            notes = [note for note in (rho.note, pair.note) if note]
            found[pair.name] = replace(rho, note="; ".join(notes) or None)
        except InputError as error:
            found[pair.name] = " ".join(filter(None, (str(error), pair.note)))
    if not any(isinstance(item, Interval) for item in found.values()):
        raise InputError(
            " ".join(str(reason) for reason in found.values())
            or "No result of detection or segmentation is there to be foretold; run a suite with "
            "coco or ade20k."
        )
    return found


def foretold(results: str | Path) -> tuple[list[Pair], dict[str, Interval | str]]:
    """A folder of results -> what is correlated in it, and what came of it; InputError as below."""
    asked = read_asked(results)
    board = asked_board(results, asked, resamples=0)
    curves = learning_curves(results, asked)
    compared = list(pairs(board, curves, targets_of(results, curves)))
    return compared, proxy_validity(compared)


def write_validity(results: str | Path, out: str | Path | None = None) -> list[Path]:
    """A folder of results -> ``analysis/proxy.json`` and ``.png`` below it (or in ``out``).

    Returns their paths. A leaderboard that is written above that folder shows the figure.

    Raises:
        InputError: no such folder, too few methods, a folder that can't be written.
    """
    compared, found = foretold(results)
    folder = Path(results) / "analysis" if out is None else Path(out)
    shown = {
        pair.names: (pair.values, found[pair.name])
        for pair in compared
        if isinstance(found[pair.name], Interval)
    }
    return [write_json(folder, "proxy", found), save(proxy_figure(shown), folder, "proxy")]
