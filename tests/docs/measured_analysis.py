"""The figures and numbers of docs/analysis.md: a tiny training, looked into after every epoch.

``python tests/docs/measured_analysis.py`` trains ``configs/pretrain/semaim_tiny.py`` longer on the
first part of the sample data, keeps the weights before training (``epoch_0``) and after every
epoch, runs all analyses over them, and writes ``docs/images/analysis/*.png`` and
``docs/measured/analysis.json``. Then ``python tests/docs/doc_blocks.py`` writes what
``<!-- made: analysis about -->`` (``training``, ``orders``, ``several``) marks.
"""

from __future__ import annotations

import json
import platform
import re
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from semaim_mm.analysis.run import analyze
from semaim_mm.leaderboard.write.markdown import table
from semaim_mm.leaderboard.write.text import NONE
from semaim_mm.runtime.launch import build_runner, load_config

ROOT = Path(__file__).resolve().parents[2]
FILE = ROOT / "docs" / "measured" / "analysis.json"
IMAGES = ROOT / "docs" / "images" / "analysis"
LEAF, EPOCHS, PICTURES = "configs/pretrain/semaim_tiny.py", 5, 4000
COMMAND = "python tests/docs/measured_analysis.py"
WIDTHS = dict(neighbours=420, attention=420, colours=620, several=900)  # pixels on the page
WIDEST, COLOURS = 800, 128
SHOWN_PARTS = ("0.1", "0.3")
MAPPED = ("semantic", "multi_center", "similarity")  # what the weights can change
ORDERS = (*MAPPED, "center_out", "raster", "stochastic")


def train(folder: Path) -> list[Path]:
    """-> the checkpoints of a training into ``folder``, before it and after every epoch."""
    options = {
        "train_cfg.max_epochs": EPOCHS,
        "train_dataloader.dataset.dataset.indices": PICTURES,
        "default_hooks.checkpoint.max_keep_ckpts": -1,
    }
    runner = build_runner(load_config(ROOT / LEAF, options, str(folder)))
    runner.model.init_weights()
    torch.save(dict(state_dict=runner.model.state_dict()), folder / "epoch_0.pth")
    runner.train()
    return [folder / f"epoch_{number}.pth" for number in range(EPOCHS + 1)]


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

    def parts(by_order: dict[str, Any]) -> dict[str, Any]:
        return few({o: by_order[o] for o in ORDERS})

    def few(by_name: dict[str, Any]) -> dict[str, Any]:
        return {name: {part: by[part] for part in SHOWN_PARTS} for name, by in by_name.items()}

    return found | dict(
        share={name: parts(by_order) for name, by_order in found["share"].items()},
        covered={n: parts(by_order) for n, by_order in found["covered"][last].items()},
        tau={pair: {o: by[o] for o in MAPPED} for pair, by in found["tau"].items()},
        paired=few(found["paired"][last]),
        covered_paired={n: few(by_pair) for n, by_pair in found["covered_paired"][last].items()},
    )


def main() -> None:
    folder = ROOT / "work_dirs" / "measured_analysis"
    begun = time.monotonic()
    checkpoints = train(folder)
    trained = time.monotonic()
    written = analyze(ROOT / LEAF, checkpoints, out=folder / "analysis")
    found: dict[str, Any] = dict(
        command=COMMAND,
        date=datetime.now(UTC).date().isoformat(),
        leaf=LEAF,
        epochs=EPOCHS,
        pictures=PICTURES,
        minutes=[round((trained - begun) / 60, 1), round((time.monotonic() - trained) / 60, 1)],
        device=f"{platform.machine()} CPU, {torch.get_num_threads()} thread(s)",
        torch=torch.__version__,
    )
    IMAGES.mkdir(parents=True, exist_ok=True)
    for path in written:
        if path.suffix == ".png":
            shrink(path, IMAGES / path.name)
        else:
            found[path.stem] = brief(json.loads(path.read_text()))
    found["objects"] = kept(found["objects"])
    text = json.dumps(found, indent=1)
    # an interval on a line
    text = re.sub(r"\[\s+([^\[\]{}]*?)\s+\]", lambda m: f"[{' '.join(m[1].split())}]", text)
    FILE.write_text(text + "\n")


def _read() -> dict[str, Any]:
    return json.loads(FILE.read_text())


def _told(found: list | None, scale: float = 100, digits: int = 1) -> str:
    """[value, low, high, n] -> 'value (low to high)'."""
    if found is None:
        return NONE
    value, low, high, _ = (None if item is None else item * scale for item in found)
    text = f"{value:.{digits}f}"
    return text if low is None else f"{text} ({low:.{digits}f} to {high:.{digits}f})"


def block(what: str) -> str:
    """'about': how it was measured; 'training', 'orders' or 'several': that table."""
    return f"{TABLES[what](_read())}\n"


def _about(found: dict[str, Any]) -> str:
    return (
        f"`{found['command']}`, {found['date']}: `{found['leaf']}` for {found['epochs']} epochs "
        f"of {found['pictures']} pictures ({found['minutes'][0]:g} minutes, the analyses "
        f"{found['minutes'][1]:g}; {found['device']}, torch {found['torch']}), one seed, "
        f"{found['objects']['pictures']} pictures of the detection task, "
        "`docs/measured/analysis.json`."
    )


def _training(found: dict[str, Any]) -> str:
    parts, seen = found["objects"], None
    own = next(iter(parts["share"]["epoch_0"]))
    rows = []
    for name, shares in parts["share"].items():
        tau = parts["tau"].get(f"{seen} to {name}", {}).get(own)
        row = [name.replace("_", " "), *(_told(shares[own][part]) for part in SHOWN_PARTS)]
        row += [_told(parts["distance"][name][own], 1, 2), _told(tau, 1, 2)]
        rows.append(row)
        seen = name
    header = [own, *(f"first {float(p):.0%} on an object, %" for p in SHOWN_PARTS)]
    header += ["centre to object, patches", "tau with the epoch before"]
    return table(header, rows)


def _orders(found: dict[str, Any]) -> str:
    parts = found["objects"]
    last = parts["share"][f"epoch_{found['epochs']}"]
    rows = [[o, *(_told(last[o][part]) for part in SHOWN_PARTS)] for o in ORDERS]
    rows.append(["all patches", *[_told(parts["by_chance"])] * len(SHOWN_PARTS)])
    header = ["order", *(f"first {float(part):.0%} on an object, %" for part in SHOWN_PARTS)]
    return table(header, rows)


def _several(found: dict[str, Any]) -> str:
    groups = found["objects"]["covered"]
    rows = []
    for order in ("semantic", "multi_center", "stochastic"):
        cells = [_told(by[order][part]) for by in groups.values() for part in SHOWN_PARTS]
        rows.append([order, *cells])
    header = ["order"]
    for number, by in groups.items():
        count = by["semantic"]["0.1"][3]
        words = f"{number} object{'' if number == '1' else 's'} ({count})"
        header += [f"{words}: begun after {float(part):.0%}, %" for part in SHOWN_PARTS]
    return table(header, rows)


TABLES = dict(about=_about, training=_training, orders=_orders, several=_several)


if __name__ == "__main__":
    main()
