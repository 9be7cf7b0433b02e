"""The measured ablations as a table of the documentation: a line a cell, beside its base.

``docs/measured/ablations.csv`` is the leaderboard's own CSV of the suite, copied.
"""

from __future__ import annotations

import csv
from pathlib import Path

from semaim_mm.suite.grid import BASE

ROOT = Path(__file__).resolve().parents[2]


def grid(path: str) -> str:
    """A leaderboard's CSV -> its methods x headline metrics, with the difference from the base.

    Each figure is a mean over pretraining seeds with its 95 % interval, in percent; a file that is
    not there says that nothing was measured.
    """
    if not (ROOT / path).is_file():
        return "Not measured yet.\n"
    with (ROOT / path).open(newline="") as file:
        lines = [line for line in csv.DictReader(file) if line["kind"] == "measured"]
    lines = [line for line in lines if line["headline"] == "true"]
    tasks = list(dict.fromkeys((line["task"], line["metric"]) for line in lines))
    cells = {(line["method"], line["task"], line["metric"]): line for line in lines}
    # the base first, then cells of an axis together, as they rank in neither task
    methods = sorted({line["method"] for line in lines}, key=lambda m: (m != BASE, m))
    shown = [["cell", "seeds"], ["--", "--:"]]
    for task, metric in tasks:
        shown[0] += [f"{task} {metric}", "from base"]
        shown[1] += ["--:", "--:"]
    for method in methods:
        found = [cells.get((method, *key)) for key in tasks]
        counts = {line["over_pretraining_seeds_n"] or "1" for line in found if line}
        row = [f"`{method}`", " / ".join(sorted(counts))]
        for line, key in zip(found, tasks, strict=True):
            row += ["-", "-"] if line is None else _figures(line, cells.get((BASE, *key)))
        shown.append(row)
    return "".join(f"| {' | '.join(row)} |\n" for row in shown)


def _figures(line: dict[str, str], base: dict[str, str] | None) -> list[str]:
    value, low, high = (line[k] for k in ("value", *_span("low", "high")))
    told = f"{float(value):.1f}"
    if low and high:
        told += f" ({float(low):.1f} to {float(high):.1f})"
    if base is None or line is base:
        return [told, ""]
    return [told, f"{float(value) - float(base['value']):+.1f}"]


def _span(*names: str) -> list[str]:
    return [f"over_pretraining_seeds_{name}" for name in names]
