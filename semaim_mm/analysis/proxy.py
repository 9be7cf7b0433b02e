"""Do cheap measures foretell dense scores? Rank correlation over a leaderboard's methods.

Method means; the bootstrap draws seeds anew, the same ones for every method and measure.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from scipy.stats import rankdata

from semaim_mm.analysis.loss_target import UNKNOWN, short, targets_of
from semaim_mm.analysis.write_json import write_json
from semaim_mm.errors import InputError
from semaim_mm.leaderboard.asked import asked_board, read_asked
from semaim_mm.leaderboard.intervals import LEVEL, RESAMPLES, Interval
from semaim_mm.leaderboard.model import Group, Leaderboard
from semaim_mm.leaderboard.write.curves import Curve, learning_curves

FEWEST = 4  # methods with both scores
DENSE = ("bbox_mAP", "segm_mAP", "mIoU")
LOSS = "pretraining loss"
Scores = Mapping[str, Mapping[int, float]]  # by method and pretraining seed


def scores_of(group: Group) -> Scores:
    """A group -> its headline score by method and pretraining seed, finetunings averaged."""
    found: dict[str, dict[int, list[float]]] = {}
    for row in group.rows:
        for run in row.runs:
            seed = -1 if run.pretraining_seed is None else run.pretraining_seed
            by_seed = found.setdefault(row.method, {}).setdefault(seed, [])
            by_seed.append(run.scores[group.headline])
    return {m: {s: float(np.mean(v)) for s, v in seeds.items()} for m, seeds in found.items()}


def last_losses(curves: list[Curve]) -> Scores:
    """Learning curves -> minus the last pretraining loss, so that more is better, as scores are."""
    found: dict[str, dict[int, float]] = {}
    for curve in curves:
        if curve.part == "pretraining" and curve.seed is not None:
            found.setdefault(curve.method, {})[curve.seed] = -curve.losses[-1]
    return found


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


def proxy_validity(
    board: Leaderboard, curves: Sequence[Curve] = (), targets: Mapping[str, str] | None = None
) -> dict[str, Interval | str]:
    """A leaderboard -> 'cheap task -> dense task': rho with its interval, or why there is none.

    Cheap are the pretraining loss and groups that train no whole model. A loss is correlated over
    methods of one target alone (``targets``, by method, of ``targets_of``); the others are named.

    Raises:
        InputError: no pair has FEWEST methods.
    """
    cheap = {LOSS: last_losses(list(curves))}
    dense: dict[str, Scores] = {}
    for group in board.groups:
        is_dense = group.headline in DENSE
        if is_dense or not group.protocol.get("training"):
            place, name = dense if is_dense else cheap, group.task
            if name in place:  # one task under two protocols or on two data sets
                name = f"{name} {group.fingerprint[:8]}, {group.data}"
            place[name] = scores_of(group)
    found: dict[str, Interval | str] = {}
    for task, scores in dense.items():
        for name, values in cheap.items():
            kept, left = values, None
            if name == LOSS:
                kept, left = one_target(values, scores, targets or {})
            try:
                rho = validity(kept, scores, f"{name} and {task}")
                notes = [note for note in (rho.note, left) if note]
                found[f"{name} -> {task}"] = replace(rho, note="; ".join(notes) or None)
            except InputError as error:
                found[f"{name} -> {task}"] = " ".join(filter(None, (str(error), left)))
    if not any(isinstance(item, Interval) for item in found.values()):
        raise InputError(
            " ".join(str(reason) for reason in found.values())
            or "No result of detection or segmentation is there to be foretold; run a suite with "
            "coco or ade20k."
        )
    return found


def write_validity(results: str | Path, out: str | Path | None = None) -> Path:
    """A folder of results -> ``analysis/proxy.json`` below it (or in ``out``); -> its path.

    Raises:
        InputError: no such folder, too few methods, a folder that can't be written.
    """
    asked = read_asked(results)
    board = asked_board(results, asked, resamples=0)
    curves = learning_curves(results, asked)
    found = proxy_validity(board, curves, targets_of(results, curves))
    return write_json(Path(results) / "analysis" if out is None else Path(out), "proxy", found)
