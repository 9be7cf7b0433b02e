"""What a suite measured, in a file small enough to commit, and the tables that pages show of it.

``python tests/docs/measured_suite.py configs/suites/small.py`` reads the finished suite's folder
and writes ``docs/measured/suites/small.json``; with ``--times`` also the times that a plan expects
(``semaim_mm/suite/measured_seconds.json``), with ``--times-only`` nothing but them. With
``--so-far`` a suite that is still under way is published too, and its table says how much of it is
there. The last row is measured here: what
the models that a task trains score untrained, head and all, a minute or two in all.
Then ``python tests/docs/doc_blocks.py`` writes the tables that ``<!-- made: suite small -->``,
``<!-- made: comparisons small -->`` and ``<!-- made: proxy small -->`` mark, and suite_figure.py
the picture that README shows.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

from semaim_mm.analysis.proxy import foretold
from semaim_mm.errors import InputError
from semaim_mm.leaderboard.asked import asked_board, read_asked
from semaim_mm.leaderboard.intervals import Interval
from semaim_mm.leaderboard.model import Group, Leaderboard
from semaim_mm.leaderboard.write.markdown import table
from semaim_mm.leaderboard.write.overview import Column, Entry, overview
from semaim_mm.leaderboard.write.text import NONE, p_value, score, span, with_margin
from semaim_mm.runtime.evaluate import evaluate
from semaim_mm.runtime.launch import load_config
from semaim_mm.suite.spec import Spec, read_spec
from semaim_mm.suite.stages import Stage, plan
from semaim_mm.suite.state import read_state
from semaim_mm.suite.times import SHIPPED, kind_of, shipped

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "docs" / "measured" / "suites"
# shown beside the figure that a task is ranked by
BESIDE = {"bbox_mAP": ("bbox_mAP_50", "bbox_AR@100", "segm_mAP")}


def digest(
    board: Leaderboard, stages: Sequence[Stage], command: str, so_far: bool = False
) -> dict[str, Any]:
    """A suite -> its table, comparisons, and by what and how long it was measured.

    Args:
        so_far: results may be absent.

    Raises:
        InputError: a stage is not complete, or a result doesn't count.
    """
    if (board.absent and not so_far) or board.excluded:
        raise InputError(
            f"{len(board.absent)} results are absent and {len(board.excluded)} excluded; a suite's "
            f"table is published whole. Run {command} to its end."
        )
    found = overview(board)
    columns = [
        (column, metric)
        for column in found.columns
        for metric in (column.group.headline, *beside(column.group))
    ]
    runs = [run for group in board.groups for row in group.rows for run in row.runs]
    records = [read_state(stage) or {} for stage in stages]
    return dict(
        suite=board.suite,
        command=command,
        results=len(runs),
        absent=len(board.absent),
        start=min(run.start for run in runs),
        end=max(run.end for run in runs),
        device=sorted({run.device for run in runs}),
        versions={"torch": sorted({run.versions["torch"] for run in runs})},
        commits=sorted({str(run.commit) for run in runs}),
        process_hours=round(sum(r.get("seconds") or 0.0 for r in records) / 3600, 2),
        columns=[
            dict(task=c.task, metric=metric, fingerprint=c.group.fingerprint)
            for c, metric in columns
        ],
        rows=[
            dict(
                method=line.method,
                cost=line.cost.told() if line.cost else None,
                cells=_cells(dict(zip(map(id, found.columns), line.entries, strict=True)), columns),
            )
            for line in found.lines
        ],
        comparisons=[asdict(item) for item in board.comparisons],
        notes=board.notes,
    )


def untrained(spec: Spec) -> dict[str, dict[str, float]]:
    """A suite -> the metrics of every task's untrained model, in percent; of those that train."""
    results = {}
    for name, task in spec.tasks.items():
        if load_config(task.config).get("train_cfg") is None:
            continue
        with TemporaryDirectory() as folder:
            results[name] = evaluate(task.config, "random", folder, dict(task.options))
    called = [result["task"] for result in results.values()]
    return {
        # as the table names it: two of one name by the suite's names
        (result["task"] if called.count(result["task"]) == 1 else name): {
            metric: round(item["value"], 4) for metric, item in result["metrics"].items()
        }
        for name, result in results.items()
    }


def proxy(results: Path) -> list[dict[str, Any]]:
    """A suite's folder -> rank correlations of cheap and dense measures, as analyze.py has them.

    None where no pair of measures has methods enough.
    """
    try:
        compared, found = foretold(results)
    except InputError:
        return []
    told = ((pair, found[pair.name]) for pair in compared)
    return [
        dict(cheap=pair.names[0], dense=pair.names[1], methods=list(pair.values))
        | (asdict(rho) if isinstance(rho, Interval) else dict(value=None, note=rho))
        for pair, rho in told
    ]


def _cells(
    entries: dict[int, Entry], columns: Sequence[tuple[Column, str]]
) -> list[list[dict[str, Any]]]:
    """-> of every column the intervals of a method's rows, one where all are selected alike."""
    return [
        [asdict(r.cells[metric].over_pretraining) for r in entries[id(c)].rows if metric in r.cells]
        for c, metric in columns
    ]


def beside(group: Group) -> list[str]:
    """-> a group's metrics that a table shows behind its headline."""
    return [name for name in BESIDE.get(group.headline, ()) if name in group.metrics]


def told(found: dict[str, Any]) -> str:
    """A digest -> its file's text."""
    return json.dumps(found, indent=1, ensure_ascii=False) + "\n"


def read(name: str) -> dict[str, Any]:
    """-> the committed digest of a suite."""
    return json.loads((FOLDER / f"{name}.json").read_text())


def suite_table(name: str) -> str:
    """A suite's name -> when and by what it was measured, and methods x tasks."""
    found = read(name)
    header = ["method", "epochs", "FLOPs"]
    header += [f"{c['task']}: {c['metric']} · {c['fingerprint'][:8]}" for c in found["columns"]]
    rows = []
    for row in found["rows"]:
        epochs, _, flops, _ = row["cost"] or (NONE,) * 4
        cells = ["; ".join(with_margin(Interval(**i)) for i in cell) for cell in row["cells"]]
        rows.append([row["method"], epochs, flops, *(cell or NONE for cell in cells)])
    if scores := found.get("untrained"):
        values = (scores.get(c["task"], {}).get(c["metric"]) for c in found["columns"])
        rows.append(["untrained, head and all", NONE, NONE, *map(score, values)])
    told = (
        f"{about(found)}, `docs/measured/suites/{name}.json`. Mean over pretraining seeds ± half "
        "its 95 % interval, in percent."
    )
    if found.get("absent"):
        whole = found["results"] + found["absent"]
        told += f" **So far**: {found['results']} of {whole} results are there."
    return f"{told}\n\n{table(header, rows)}\n"


def about(found: dict[str, Any]) -> str:
    """A digest -> its command, dates, hours, device and version."""
    return (
        f"`{found['command']}`, {found['start'][:10]} to {found['end'][:10]}, "
        f"{found['process_hours']:g} hours of processes of one thread on {found['device'][0]}, "
        f"torch {found['versions']['torch'][0]}"
    )


def comparison_table(name: str) -> str:
    """A suite's name -> what was declared to be compared, and what came of it."""
    header = ("first", "second", "task", "metric", "difference", "over pretraining seeds")
    header += ("corrected p", "smallest detectable", "verdict")
    rows = []
    for item in read(name)["comparisons"]:
        seeds = Interval(**item["over_pretraining"]) if item["over_pretraining"] else None
        line = (item["first"], item["second"], item["task"] or NONE, item["metric"] or NONE)
        line += (score(seeds.value if seeds else None, sign=True), span(seeds, sign=True))
        line += (p_value(item["corrected"]), score(item["detectable"]), item["verdict"])
        rows.append(line)
    return f"{table(header, rows, longest=400)}\n"


def proxy_table(name: str) -> str:
    """A suite's name -> how its cheap measures rank its methods beside how dense ones do."""
    header = ("cheap", "dense", "methods", "rho", "over pretraining seeds", "note")
    rows = []
    for item in read(name)["proxy"]:
        low, high = item.get("low"), item.get("high")
        shown = NONE if low is None else f"{low:+.2f} to {high:+.2f}"
        rho = NONE if item["value"] is None else f"{item['value']:+.2f}"
        methods = f"{len(item['methods'])}: {', '.join(item['methods'])}"
        line = (item["cheap"], item["dense"], methods, rho, shown, item["note"] or NONE)
        rows.append(line)
    return f"{table(header, rows, longest=600)}\n"


def times(stages: Sequence[Stage], command: str, machine: str, date: str) -> dict[str, Any]:
    """Stages -> the median seconds of each kind, as ``semaim_mm/suite/times.py`` reads them."""
    found: dict[str, list[float]] = {}
    for stage in stages:
        record = read_state(stage) or {}
        if record.get("status") == "complete":
            found.setdefault(kind_of(stage), []).append(record["seconds"])
    seconds = {key: round(median(values)) for key, values in sorted(found.items())}
    return dict(machine=machine, date=date, command=command, seconds=seconds)


def write_times(measured: dict[str, Any]) -> None:
    """Put a suite's times where a plan reads them, in place of what the same command measured."""
    path = ROOT / "semaim_mm" / "suite" / SHIPPED
    others = [found for found in shipped() if found["command"] != measured["command"]]
    path.write_text(json.dumps([*others, measured], indent=1) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("spec")
    parser.add_argument("--times", metavar="MACHINE", help="write the expected times too")
    parser.add_argument("--times-only", action="store_true", help="publish no table")
    parser.add_argument("--so-far", action="store_true", help="though results are absent")
    args = parser.parse_args()
    spec = read_spec(args.spec)
    stages, command = plan(spec), f"python tools/transfer.py {args.spec}"
    board = asked_board(spec.folder, read_asked(spec.folder))
    if args.times:
        ended = max(run.end for group in board.groups for row in group.rows for run in row.runs)
        write_times(times(stages, command, args.times, ended[:10]))
    if args.times_only:
        return
    found = digest(board, stages, command, args.so_far)
    found |= dict(untrained=untrained(spec), proxy=proxy(spec.folder))
    FOLDER.mkdir(parents=True, exist_ok=True)
    (FOLDER / f"{spec.name}.json").write_text(told(found))


if __name__ == "__main__":
    main()
