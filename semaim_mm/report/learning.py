"""Does pretraining teach anything? Pretrained, random and raw-pixel features, seed by seed."""

import json
import statistics
from collections.abc import Sequence
from pathlib import Path

from rich.table import Table

from semaim_mm.errors import InputError
from semaim_mm.runtime.evaluate import evaluate
from semaim_mm.runtime.launch import build_runner, load_config
from semaim_mm.runtime.reliable.newest import newest_checkpoint

ROWS = ("SemAIM", "random init", "raw pixels")
PRETRAIN = "configs/pretrain/semaim_tiny.py"
FROZEN = {"k-NN": "configs/cls/knn_tiny", "linear": "configs/cls/probe-last_tiny"}
QUIET = dict(log_level="WARNING")


def pretrain(work_dir: Path, seed: int) -> Path:
    """Pretrain a tiny model -> its last checkpoint."""
    cfg = load_config(PRETRAIN, {"randomness.seed": seed}, str(work_dir))
    build_runner(cfg).train()
    found = newest_checkpoint(work_dir)
    if found is None:
        raise InputError(f"The training left no whole checkpoint in {work_dir}; see its log there.")
    return Path(found)


def heldout_losses(work_dir: Path) -> dict[str, float]:
    """The last held-out loss in a work dir's JSON lines, and the mean predictor's."""
    lines = max(work_dir.glob("*/vis_data/scalars.json"), key=lambda p: p.stat().st_mtime)
    rows = [json.loads(line) for line in lines.read_text().splitlines()]
    return [row for row in rows if "mean_predictor_loss" in row][-1]


def compare(out: Path, seeds: Sequence[int]) -> dict:
    """Run everything -> {'top1': {row: {task: [a value a seed]}}, 'loss': [...], ...}."""
    found = {"top1": {row: {task: [] for task in FROZEN} for row in ROWS}, "loss": []}
    for seed in seeds:
        for row in ROWS:
            folder = out / f"seed{seed}" / row.replace(" ", "-").lower()
            checkpoint = None
            if row == "SemAIM":
                print(f"seed {seed}: pretraining {row}, logs in {folder}")
                checkpoint = pretrain(folder, seed)
                losses = heldout_losses(folder)
                found["loss"].append(losses["loss"])
                found["mean_predictor_loss"] = losses["mean_predictor_loss"]
            for task, config in FROZEN.items():
                values = found["top1"][row][task]
                if row == "raw pixels" and values:
                    continue  # no seed changes the pixels
                print(f"seed {seed}: {task} of {row}")
                values.append(_frozen(config, row, checkpoint, folder, seed))
    return found


def _frozen(config: str, row: str, checkpoint: Path | None, folder: Path, seed: int) -> float:
    weights = "random" if checkpoint is None else str(checkpoint)
    pixels = row == "raw pixels"
    result = evaluate(
        f"{config}_pixels.py" if pixels else f"{config}.py",
        None if pixels else weights,
        str(folder / Path(config).name),
        {**QUIET, "randomness.seed": seed},
        method=folder.name,
    )
    return result["metrics"]["top1"]["value"]


def cells(values: dict[str, list[float]]) -> list[str]:
    """A row's cells: the mean over seeds, and the smallest and largest value where they differ."""
    texts = []
    for found in values.values():
        spread = f" ({min(found):.1f} to {max(found):.1f})" if len(found) > 1 else ""
        texts.append(f"{statistics.mean(found):.1f}{spread}" if found else "-")
    return texts


def table(found: dict) -> Table:
    """The comparison as a table for the terminal."""
    seeds = len(found["loss"])
    view = Table(title=f"Shipped sample objects, top-1 in percent, {seeds} seed(s)")
    view.add_column("features")
    for task in found["top1"]["SemAIM"]:
        view.add_column(task, justify="right")
    for row, values in found["top1"].items():
        view.add_row(row, *cells(values))
    return view


def markdown(found: dict) -> str:
    """The comparison as a Markdown table and its verdicts as a list: the README's block."""
    tasks = found["top1"]["SemAIM"]
    lines = ["| features, top-1 in % | " + " | ".join(tasks) + " |", "|--|" + "--|" * len(tasks)]
    lines += [f"| {row} | {' | '.join(cells(v))} |" for row, v in found["top1"].items()]
    return "\n".join([*lines, "", *(f"- {line}" for line in verdicts(found))])


def verdicts(found: dict) -> list[str]:
    """Sentences: the loss against the mean predictor, the margins against the seeds' spread."""
    worst = max(found["loss"])
    lines = [
        f"held-out loss {', '.join(f'{x:.3f}' for x in found['loss'])}; predicting every "
        f"position's training mean gives {found['mean_predictor_loss']:.3f}: "
        + ("learnt" if worst < 0.8 * found["mean_predictor_loss"] else "NOT well below")
    ]
    for task in found["top1"]["SemAIM"]:
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
