"""The figures and numbers of docs/analysis.md: tiny trainings, looked into after every epoch.

``python tests/docs/measured_analysis.py`` trains ``configs/pretrain/semaim_tiny.py`` longer on the
first part of the sample data, keeps the weights before training (``epoch_0``) and after every
epoch, and runs all analyses over them. It does so with further seeds for the differences between
orders alone, and pretrains ``configs/pretrain/semaim_tiny_raw-pixels.py`` as it is for pictures
that are completed. It writes ``docs/images/analysis/*.png`` and ``docs/measured/analysis.json``;
with ``--generation`` it measures the completed pictures alone again and leaves the rest as it is.
Then ``python tests/docs/doc_blocks.py`` writes what ``<!-- made: analysis about -->`` and the other
names of analysis_block.py mark.

It took an hour beside two trainings on two cores (``minutes_in_all`` of the JSON).
"""

from __future__ import annotations

import argparse
import json
import platform
import re
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from analysis_block import COVERED_PARTS, FILE, MAPPED, ORDERS, SHARE_PARTS
from PIL import Image

from semaim_mm.analysis.run import analyze
from semaim_mm.runtime.launch import build_runner, load_config

ROOT = Path(__file__).resolve().parents[2]
IMAGES = ROOT / "docs" / "images" / "analysis"
FOLDER = ROOT / "work_dirs" / "measured_analysis"
LEAF, EPOCHS, PICTURES = "configs/pretrain/semaim_tiny.py", 5, 4000
SEEDS = (0, 1, 2)  # of the pretraining; figures are of the first
RAW_LEAF, RAW_EPOCHS = "configs/pretrain/semaim_tiny_raw-pixels.py", 1
SHORTER = {"train_dataloader.dataset.dataset.indices": PICTURES}
COMMAND = "python tests/docs/measured_analysis.py"
KEPT = ("objects", "loss", "precision")  # analyses whose numbers are kept
# pixels on the page
WIDTHS = dict(neighbours=420, attention=420, colours=620, several=900, generation=420)
WIDTHS |= dict(precision=420)
WIDEST, COLOURS = 800, 128


def train(
    folder: Path, leaf: str, epochs: int, seed: int, options: Mapping[str, Any]
) -> list[Path]:
    """-> the checkpoints of a training into ``folder``, before it and after every epoch."""
    options = {
        "train_cfg.max_epochs": epochs,
        "default_hooks.checkpoint.max_keep_ckpts": -1,
        "randomness.seed": seed,
        **options,
    }
    runner = build_runner(load_config(ROOT / leaf, options, str(folder)))
    runner.model.init_weights()
    torch.save(dict(state_dict=runner.model.state_dict()), folder / "epoch_0.pth")
    runner.train()
    return [folder / f"epoch_{number}.pth" for number in range(epochs + 1)]


def shrink(path: Path, out: Path) -> None:
    """A figure -> the same, small enough for a page."""
    image = Image.open(path).convert("RGB")
    width = min(image.width, WIDTHS.get(path.stem, WIDEST))
    image = image.resize((width, round(image.height * width / image.width)), Image.LANCZOS)
    image.quantize(COLOURS, kmeans=2, dither=Image.Dither.NONE).save(out, optimize=True)


def brief(found: Any) -> Any:
    """An analysis' JSON -> the same with every interval as [value, low, high, n]."""
    if not isinstance(found, dict):
        return found
    if "value" in found:
        parts = [found[key] for key in ("value", "low", "high")]
        return [None if part is None else round(part, 4) for part in parts] + [found["n"]]
    return {key: brief(item) for key, item in found.items()}


def kept(found: dict[str, Any]) -> dict[str, Any]:
    """What ``objects.json`` holds -> the part that the page's tables show."""
    last = list(found["share"])[-1]
    return found | dict(
        share={name: few(by, SHARE_PARTS, ORDERS) for name, by in found["share"].items()},
        covered={n: few(by, COVERED_PARTS, ORDERS) for n, by in found["covered"][last].items()},
        tau={pair: {o: by[o] for o in MAPPED} for pair, by in found["tau"].items()},
        **kept_of_seed(found),
    )


def kept_of_seed(found: dict[str, Any]) -> dict[str, Any]:
    """What ``objects.json`` holds -> the last checkpoint's differences picture by picture."""
    last = list(found["share"])[-1]
    several = found["covered_paired"][last]
    return dict(
        paired=few(found["paired"][last], SHARE_PARTS),
        covered_paired={number: few(by, SHARE_PARTS) for number, by in several.items()},
    )


def few(
    by_name: dict[str, Any], parts: Sequence[str], names: Sequence[str] | None = None
) -> dict[str, Any]:
    """Numbers by name and part -> those of some parts, and of some names."""
    return {name: {part: by_name[name][part] for part in parts} for name in names or by_name}


def look(leaf: str, checkpoints: Sequence[Path], only: Sequence[str] | None = None) -> dict:
    """Analyse checkpoints, put the figures on the page -> the analyses' numbers by name."""
    found = {}
    for path in analyze(ROOT / leaf, checkpoints, only, out=checkpoints[-1].parent / "analysis"):
        if path.suffix == ".json":
            found[path.stem] = brief(json.loads(path.read_text()))
        else:
            shrink(path, IMAGES / path.name)
    return found


def differences_of(seed: int) -> dict[str, Any]:
    """A further seed's training -> its differences; its figures are not the page's."""
    folder = FOLDER / f"seed{seed}"
    last = train(folder, LEAF, EPOCHS, seed, SHORTER)[-1]
    analyze(ROOT / LEAF, [last], ["objects"], out=folder / "analysis")
    return kept_of_seed(brief(json.loads((folder / "analysis" / "objects.json").read_text())))


def completed() -> dict[str, Any]:
    """The training on raw pixels -> the errors of pictures that it completes."""
    begun = time.monotonic()
    last = train(FOLDER / "raw-pixels", RAW_LEAF, RAW_EPOCHS, SEEDS[0], {})[-1]
    minutes = _minutes(time.monotonic() - begun)
    errors = look(RAW_LEAF, [last], ["generation"])["generation"]
    return dict(
        command=f"{COMMAND} --generation",
        date=_today(),
        leaf=RAW_LEAF,
        epochs=RAW_EPOCHS,
        minutes=minutes,
        errors=errors,
    )


def measured() -> dict[str, Any]:
    """All trainings and analyses -> the whole of ``analysis.json``."""
    begun = time.monotonic()
    checkpoints = train(FOLDER / f"seed{SEEDS[0]}", LEAF, EPOCHS, SEEDS[0], SHORTER)
    trained = time.monotonic()
    numbers = look(LEAF, checkpoints)
    minutes = [_minutes(trained - begun), _minutes(time.monotonic() - trained)]
    seeds = {str(SEEDS[0]): kept_of_seed(numbers["objects"])}
    seeds |= {str(seed): differences_of(seed) for seed in SEEDS[1:]}
    found: dict[str, Any] = dict(
        command=COMMAND,
        date=_today(),
        leaf=LEAF,
        epochs=EPOCHS,
        pictures=PICTURES,
        minutes=minutes,
        device=f"{platform.machine()} CPU, {torch.get_num_threads()} thread(s)",
        torch=torch.__version__,
        **{name: numbers[name] for name in KEPT},
        seeds=seeds,
        generation=completed(),
    )
    found["objects"] = kept(found["objects"])
    found["minutes_in_all"] = _minutes(time.monotonic() - begun)
    return found


def _today() -> str:
    return datetime.now(UTC).date().isoformat()


def _minutes(seconds: float) -> float:
    return round(seconds / 60, 1)


def main(words: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--generation", action="store_true", help="completed pictures alone")
    alone = parser.parse_args(words).generation
    IMAGES.mkdir(parents=True, exist_ok=True)
    found = json.loads(FILE.read_text()) | dict(generation=completed()) if alone else measured()
    text = json.dumps(found, indent=1)
    # an interval on a line
    text = re.sub(r"\[\s+([^\[\]{}]*?)\s+\]", lambda m: f"[{' '.join(m[1].split())}]", text)
    FILE.write_text(text + "\n")


if __name__ == "__main__":
    main()
