"""Learning curves: the losses that mmengine wrote below a folder of results."""

import json
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from semaim_mm.leaderboard.asked import Asked
from semaim_mm.leaderboard.collect import STALE

PATTERN = "*/vis_data/scalars.json"
POINTS = 300  # of a curve at most; more are averaged in stretches
# of a validation's line, whose loss is of held-out images and whose step counts epochs
HELD_OUT = "mean_predictor_loss"
SEED = re.compile(r"seed\d+$")
TRIAL = re.compile(r"(^|/)seed\d+/[^/]+/trial\d+/train$")  # where a suite puts a sweep's


@dataclass(frozen=True)
class Curve:
    """One training's loss. ``part`` says of what: 'pretraining', or the task that it trains on.

    ``held_out`` is its last loss on held-out images, None where the run validates no loss.
    """

    part: str
    method: str
    seed: int | None
    path: str
    steps: tuple[int, ...]
    losses: tuple[float, ...]
    held_out: float | None = None


def learning_curves(results: str | Path, asked: Asked | None = None) -> list[Curve]:
    """A folder of results -> the loss by update of every training below it, by path.

    Trials of a sweep are left out, which would have the name of the training that they choose for.
    A run that was resumed has several files: a later one takes over from its first update on.
    Lines that can't be read, such as the last of a run that is still going, are passed over.
    """
    root = Path(results)
    runs: dict[Path, list[Path]] = {}
    for path in sorted(root.rglob(PATTERN)):
        runs.setdefault(path.parents[2], []).append(path)
    found = []
    for folder, paths in sorted(runs.items()):
        name = folder.relative_to(root).as_posix()
        if TRIAL.search(name) or any(STALE.search(part) for part in name.split("/")):
            continue
        losses: dict[int, float] = {}
        held_out = None
        for path in paths:
            lines = list(_read(path))
            later = {line["step"]: line["loss"] for line in lines if HELD_OUT not in line}
            validated = [line["loss"] for line in lines if HELD_OUT in line]
            held_out = validated[-1] if validated else held_out
            if later:
                losses = {k: v for k, v in losses.items() if k < min(later)} | later
        if losses:
            steps, values = _thinned(sorted(losses.items()))
            found.append(Curve(*_told(name, asked), name, steps, values, held_out))
    return found


def _read(path: Path) -> Iterator[dict]:
    """-> the lines that tell a loss."""
    try:
        lines = path.read_text(errors="replace").splitlines()
    except OSError:
        return
    for line in lines:
        try:
            found = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if not isinstance(found, dict):
            continue
        step, loss = found.get("step"), found.get("loss")
        if isinstance(step, int) and isinstance(loss, int | float) and math.isfinite(loss):
            yield found | dict(loss=float(loss))


def _thinned(points: list[tuple[int, float]]) -> tuple[tuple[int, ...], tuple[float, ...]]:
    """Points of a curve -> at most POINTS: the mean loss of a stretch at its last update."""
    width = math.ceil(len(points) / POINTS)
    pieces = [points[start : start + width] for start in range(0, len(points), width)]
    means = (sum(loss for _, loss in piece) / len(piece) for piece in pieces)
    return tuple(piece[-1][0] for piece in pieces), tuple(float(f"{mean:.6g}") for mean in means)


def _told(folder: str, asked: Asked | None) -> tuple[str, str, int | None]:
    """A run's folder -> what it trains, method and seed: from the suite, else from the path."""
    for stage in asked.stages if asked else ():
        if stage["stage"] == folder:
            part = "pretraining" if stage["kind"] == "pretrain" else stage["task"]
            return part, stage["method"], stage["seed"]
    seed = next((part for part in folder.split("/") if SEED.match(part)), None)
    return "training", folder, None if seed is None else int(seed.removeprefix("seed"))
