"""The measured ablations as a table of the documentation: a line a cell, beside its base.

``python tests/docs/grid_block.py configs/suites/ablations.py --machine "2 shared cores"`` reads the
finished suite's folder and writes ``docs/measured/ablations.csv``, the leaderboard's own CSV,
``ablations.json`` beside it (command, dates, machine, versions, hours, comparisons, and the scores
a pretraining seed, which differences from the base are paired by), and a plan's times. Then
``python tests/docs/doc_blocks.py`` writes the table that ``<!-- made: grid CSV -->`` marks.
"""

from __future__ import annotations

import argparse
import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import measured_suite

from semaim_mm.errors import InputError
from semaim_mm.leaderboard.asked import asked_board, read_asked
from semaim_mm.leaderboard.intervals import over_seeds
from semaim_mm.leaderboard.model import Leaderboard
from semaim_mm.leaderboard.write.csv_file import csv_text
from semaim_mm.suite.grid import BASE
from semaim_mm.suite.spec import read_spec
from semaim_mm.suite.stages import Stage, plan

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "docs" / "measured"
TOLD = ("command", "start", "end", "device", "versions", "commits", "process_hours", "comparisons")


def write_grid(
    board: Leaderboard, stages: Sequence[Stage], command: str, machine: str, csv_file: Path
) -> None:
    """A finished grid -> its CSV, and beside it how it was measured; InputError as ``digest``."""
    found = measured_suite.digest(board, stages, command)
    told = dict(machine=machine) | {key: found[key] for key in TOLD}
    told["scores"] = scores_by_seed(board)
    csv_file.parent.mkdir(parents=True, exist_ok=True)
    csv_file.write_text(csv_text(board))
    csv_file.with_suffix(".json").write_text(measured_suite.told(told))


def scores_by_seed(board: Leaderboard) -> dict[str, dict[str, dict[str, float]]]:
    """-> {task: {method: {pretraining seed: headline score}}}."""
    found: dict[str, dict[str, dict[str, float]]] = {}
    for group in board.groups:
        for row in group.rows:
            scores = {str(run.pretraining_seed): run.scores[group.headline] for run in row.runs}
            found.setdefault(group.task, {})[row.method] = scores
    return found


def read_beside(path: str) -> dict[str, Any]:
    """A grid's CSV -> how it was measured, from the JSON beside it."""
    file = (ROOT / path).with_suffix(".json")
    if not file.is_file():
        raise InputError(
            f"{path} is there without {file.name}, which says how it was measured; write both by "
            "python tests/docs/grid_block.py SPEC --machine TEXT."
        )
    return json.loads(file.read_text())


def about(path: str, found: dict[str, Any]) -> str:
    """A grid's CSV and what is beside it -> by what, when, where and how long it was measured."""
    return (
        f"{measured_suite.about(found)}; {found['machine']}, "
        f"`{Path(path).with_suffix('.json').as_posix()}`. Mean over pretraining seeds with its "
        "95 % interval, in percent; the difference from the base is paired by seed, and its "
        "interval is not corrected for how many cells there are."
    )


def grid(path: str) -> str:
    """A leaderboard's CSV -> its methods x headline metrics, with the difference from the base.

    Each figure is a mean over pretraining seeds with its 95 % interval, in percent, after a
    sentence on the measurement; a file that is not there says that nothing was measured.
    """
    if not (ROOT / path).is_file():
        return "Not measured yet.\n"
    beside = read_beside(path)
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
        for line, (task, _) in zip(found, tasks, strict=True):
            scores = beside["scores"].get(task, {})
            row += ["-", "-"] if line is None else [_score(line), from_base(scores, method)]
        shown.append(row)
    text = "".join(f"| {' | '.join(row)} |\n" for row in shown)
    return f"{about(path, beside)}\n\n{text}"


def _score(line: dict[str, str]) -> str:
    value, low, high = (line[k] for k in ("value", *_span("low", "high")))
    told = f"{float(value):.1f}"
    return f"{told} ({float(low):.1f} to {float(high):.1f})" if low and high else told


def from_base(scores: dict[str, dict[str, float]], method: str) -> str:
    """A task's scores by method and seed -> a method's mean difference, paired by seed."""
    base, ours = scores.get(BASE, {}), scores.get(method, {})
    shared = sorted(base.keys() & ours.keys())
    if method == BASE or not shared:
        return ""
    found = over_seeds([ours[seed] - base[seed] for seed in shared])
    told = f"{found.value:+.1f}"
    return told if found.low is None else f"{told} ({found.low:+.1f} to {found.high:+.1f})"


def _span(*names: str) -> list[str]:
    return [f"over_pretraining_seeds_{name}" for name in names]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("spec")
    parser.add_argument("--machine", required=True, help="on what it ran, in words")
    args = parser.parse_args()
    spec = read_spec(args.spec)
    board = asked_board(spec.folder, read_asked(spec.folder))
    command = f"python tools/transfer.py {args.spec}"
    file = FOLDER / f"{Path(args.spec).stem}.csv"
    stages = plan(spec)
    write_grid(board, stages, command, args.machine, file)
    date = max(run.end for group in board.groups for row in group.rows for run in row.runs)[:10]
    measured_suite.write_times(measured_suite.times(stages, command, args.machine, date))


if __name__ == "__main__":
    main()
