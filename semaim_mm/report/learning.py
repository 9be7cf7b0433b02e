"""Does pretraining teach anything? Pretrained, random and raw-pixel features, seed by seed."""

import json
import statistics
from collections.abc import Callable, Sequence
from pathlib import Path

from rich.table import Table

from semaim_mm.runtime.evaluate import evaluate
from semaim_mm.runtime.launch import build_runner, load_config

PRETRAIN = "configs/pretrain/semaim_tiny.py"
TASKS = {"k-NN": "configs/cls/knn_tiny", "linear": "configs/cls/probe-last_tiny"}
ROWS = ("SemAIM", "random init", "raw pixels")
QUIET = dict(log_level="WARNING")


def pretrain(work_dir: Path, seed: int) -> Path:
    """Pretrain the tiny SemAIM -> its last checkpoint."""
    cfg = load_config(PRETRAIN, {"randomness.seed": seed}, str(work_dir))
    build_runner(cfg).train()
    return Path((work_dir / "last_checkpoint").read_text().strip())


def heldout_losses(work_dir: Path) -> dict[str, float]:
    """The last held-out loss in a work dir's JSON lines, and the mean predictor's."""
    lines = max(work_dir.glob("*/vis_data/scalars.json"), key=lambda p: p.stat().st_mtime)
    rows = [json.loads(line) for line in lines.read_text().splitlines()]
    return [row for row in rows if "mean_predictor_loss" in row][-1]


def compare(out: Path, seeds: Sequence[int], say: Callable[[str], None] = print) -> dict:
    """Run everything -> {'top1': {row: {task: [a value a seed]}}, 'loss': [...], ...}."""
    found = {"top1": {row: {task: [] for task in TASKS} for row in ROWS}, "loss": []}
    for seed in seeds:
        folder = out / f"seed{seed}"
        say(f"seed {seed}: pretraining a tiny SemAIM, logs in {folder / 'semaim'}")
        checkpoint = pretrain(folder / "semaim", seed)
        losses = heldout_losses(folder / "semaim")
        found["loss"].append(losses["loss"])
        found["mean_predictor_loss"] = losses["mean_predictor_loss"]
        for task, config in TASKS.items():
            runs = (
                ("SemAIM", f"{config}.py", str(checkpoint)),
                ("random init", f"{config}.py", "random"),
                ("raw pixels", f"{config}_pixels.py", None),
            )
            for row, path, weights in runs:
                values = found["top1"][row][task]
                if row == "raw pixels" and values:
                    continue  # no seed changes the pixels
                say(f"seed {seed}: {task} of {row}")
                name = row.replace(" ", "-").lower()
                result = evaluate(
                    path,
                    weights,
                    str(folder / name / Path(config).name),
                    {**QUIET, "randomness.seed": seed},
                    method=name,
                )
                values.append(result["metrics"]["top1"]["value"])
    return found


def table(found: dict) -> Table:
    """The comparison as a table: mean over seeds, and the smallest and largest value."""
    seeds = len(found["loss"])
    view = Table(title=f"Shipped sample objects, top-1 in percent, {seeds} seed(s)")
    view.add_column("features")
    for task in TASKS:
        view.add_column(task, justify="right")
    for row in ROWS:
        cells = []
        for task in TASKS:
            values = found["top1"][row][task]
            text = f"{statistics.mean(values):.1f}"
            if len(values) > 1:
                text += f" ({min(values):.1f} to {max(values):.1f})"
            cells.append(text)
        view.add_row(row, *cells)
    return view


def verdicts(found: dict) -> list[str]:
    """Sentences: the loss against the mean predictor, the margins against the seeds' spread."""
    worst = max(found["loss"])
    lines = [
        f"held-out loss {', '.join(f'{x:.3f}' for x in found['loss'])}; predicting every "
        f"position's training mean gives {found['mean_predictor_loss']:.3f}: "
        + ("learnt" if worst < 0.8 * found["mean_predictor_loss"] else "NOT well below")
    ]
    for task in TASKS:
        ours, random = found["top1"]["SemAIM"][task], found["top1"]["random init"][task]
        margin = statistics.mean(ours) - statistics.mean(random)
        line = f"{task}: SemAIM is {margin:+.1f} points from random init"
        if len(ours) > 1:
            spread = max(max(x) - min(x) for x in (ours, random))
            line += f"; the seeds spread over {spread:.1f}: " + (
                "larger than the spread" if margin > spread else "NOT larger than the spread"
            )
        lines.append(line)
    return lines
