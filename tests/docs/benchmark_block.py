"""The block ``<!-- made: benchmark NAME -->``: tables of docs/measured/benchmark/NAME.json."""

from __future__ import annotations

import json
from pathlib import Path

from semaim_mm.bench.report import markdown_table, read_tables

FOLDER = Path(__file__).resolve().parents[2] / "docs" / "measured" / "benchmark"


def benchmark(name: str) -> str:
    """A subcommand's name -> its command, where and when it ran, and its tables."""
    file = FOLDER / f"{name}.json"
    told = json.loads(file.read_text())
    source = told["source"]
    commit = (source["commit"] or "unknown")[:7] + ", with changes" * bool(source["dirty"])
    head = (
        f"`{told['command']}`, {told['date']}; {told['device']}, {told['processor']}, "
        f"{told['cores']} cores, {told['threads']} thread(s); load average "
        f"{told['load_at_start']} at the start, {told['load_at_end']} at the end; torch "
        f"{told['versions']['torch']}, timm {told['versions']['timm']}; source {commit}."
    )
    return "\n\n".join([head, *map(markdown_table, read_tables(file))]) + "\n"
