"""A benchmark's tables, with where and how they were measured: Markdown to read, JSON to compare.

A cell that the machine at hand could not measure is None and reads "not measured".
"""

import json
import os
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from semaim_mm.bench.timing import Spread
from semaim_mm.report.provenance import git_state, hardware, versions

NOT_MEASURED = "not measured"


class Table(NamedTuple):
    """Rows of equal length under ``columns``; ``notes`` stand below as sentences."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Any]]
    notes: Sequence[str] = ()


def cell(value: Any) -> str:
    """A value as a table shows it; a Spread as median (smallest to largest)."""
    if value is None:
        return NOT_MEASURED
    if isinstance(value, Spread):
        return f"{number(value.median)} ({number(value.lowest)} to {number(value.highest)})"
    if isinstance(value, dict):
        return ", ".join(f"{name} x {count}" for name, count in sorted(value.items())) or "none"
    return number(value) if isinstance(value, float) else str(value)


def number(value: float) -> str:
    """Three significant digits, thousands in full."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:#.3g}".rstrip(".")


def markdown_table(table: Table) -> str:
    """-> the table under its title, notes below."""
    lines = [f"### {table.title}", "", "| " + " | ".join(table.columns) + " |"]
    lines.append("|" + "--|" * len(table.columns))
    lines += ["| " + " | ".join(map(cell, row)) + " |" for row in table.rows]
    return "\n".join([*lines, *(["", *table.notes] if table.notes else [])])


def read_tables(path: str | Path) -> list[Table]:
    """-> the tables of a JSON file that a Report wrote."""
    tables = []
    for table in json.loads(Path(path).read_text())["tables"]:
        rows = [[Spread(*v) if isinstance(v, list) else v for v in row] for row in table["rows"]]
        tables.append(Table(**table | {"rows": rows}))
    return tables


class Report:
    """What one subcommand measured. Make it before measuring: it notes the load at the start.

    Args:
        name: the subcommand; files are named after it.
        command: what was typed.
    """

    def __init__(self, name: str, command: str):
        self.name, self.command = name, command
        self.tables: list[Table] = []
        self.where = dict(
            date=datetime.now(UTC).strftime("%Y-%m-%d"),
            **hardware(world_size=1),
            processor=processor(),
            cores=os.cpu_count(),
            load_at_start=round(os.getloadavg()[0], 2),
            versions=versions(),
            source=git_state(),
        )

    def finish(self) -> None:
        """Note the load at the end: beyond our own threads it is other work on the same cores."""
        self.where["load_at_end"] = round(os.getloadavg()[0], 2)

    def markdown(self) -> str:
        """-> the whole report."""
        where = self.where
        packages = ", ".join(f"{name} {found}" for name, found in where["versions"].items())
        source = where["source"]
        tree = f"{source['commit']}{' with changes' if source['dirty'] else ''}"
        head = [
            f"## {self.name}",
            "",
            f"`{self.command}`",
            "",
            f"{where['date']}; {where['device']}; {where['processor']}, {where['cores']} cores, "
            f"{where['threads']} thread(s) used; load average {where['load_at_start']} at the "
            f"start, {where.get('load_at_end', 'unknown')} at the end. {packages}. Source {tree}.",
            "Times and ratios are medians (smallest to largest).",
        ]
        return "\n".join(["\n".join(head), *(f"\n{markdown_table(t)}" for t in self.tables), ""])

    def json(self) -> str:
        """-> the same as JSON; a Spread is a list of median, smallest, largest."""
        tables = [table._asdict() for table in self.tables]
        content = dict(benchmark=self.name, command=self.command, **self.where, tables=tables)
        return json.dumps(content, indent=1) + "\n"

    def write(self, folder: str | Path) -> list[Path]:
        """Write NAME.md and NAME.json -> their paths."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        paths = [folder / f"{self.name}.md", folder / f"{self.name}.json"]
        for path, text in zip(paths, (self.markdown(), self.json()), strict=True):
            path.write_text(text)
        return paths


def processor() -> str:
    """-> the processor's name as Linux tells it, or 'unknown processor'."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else "unknown processor"
