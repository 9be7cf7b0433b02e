"""Tables read as Markdown, compare as JSON, and say what was not measured."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from semaim_mm.bench.report import Report, Table, cell, markdown_table, read_tables
from semaim_mm.bench.timing import Spread

ROOT = Path(__file__).resolve().parents[2]
TABLE = Table(
    "Speed",
    ("what", "device", "ms", "kernel"),
    [
        ("ours", "cpu", Spread(1234.5, 0.5, 20000.0), {"flash": 12, "math": 1}),
        ("ours", "cuda", None, None),
    ],
    ["A note."],
)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, "not measured"),
        (Spread(0.98765, 0.5, 12.0), "0.988 (0.500 to 12.0)"),
        (1234567.0, "1,234,567"),
        (123.4, "123"),
        (0.00012345, "0.000123"),
        (0.0, "0.00"),
        ({"math": 1, "flash": 2}, "flash x 2, math x 1"),
        ("words", "words"),
        (7, "7"),
    ],
)
def test_cells_read_so(value, expected):
    assert cell(value) == expected


def test_a_table_is_title_header_rows_and_notes():
    assert markdown_table(TABLE).splitlines() == [
        "### Speed",
        "",
        "| what | device | ms | kernel |",
        "|--|--|--|--|",
        "| ours | cpu | 1,234 (0.500 to 20,000) | flash x 12, math x 1 |",
        "| ours | cuda | not measured | not measured |",
        "",
        "A note.",
    ]


def test_both_files_say_the_command_the_machine_and_the_versions(tmp_path):
    report = Report("toy", "python tools/benchmark.py toy --rounds 1")
    report.tables.append(TABLE)
    report.finish()
    paths = report.write(tmp_path / "new" / "folder")
    assert [path.name for path in paths] == ["toy.md", "toy.json"]
    text, content = paths[0].read_text(), json.loads(paths[1].read_text())
    assert text.startswith("## toy\n\n`python tools/benchmark.py toy --rounds 1`\n")
    for told in (content["date"], content["device"], "torch 2.", "load average", "thread(s) used"):
        assert told in text
    assert markdown_table(TABLE) in text
    assert content["benchmark"] == "toy" and content["versions"]["torch"].startswith("2.")
    assert {"processor", "cores", "load_at_start", "load_at_end", "source"} <= set(content)
    assert content["tables"][0]["rows"][0][2] == [1234.5, 0.5, 20000.0]
    assert content["tables"][0]["rows"][1][2] is None
    assert [markdown_table(table) for table in read_tables(paths[1])] == [markdown_table(TABLE)]


def test_the_documented_tables_are_those_of_the_measured_files():
    told = (ROOT / "docs" / "performance.md").read_text()
    files = sorted((ROOT / "docs" / "measured" / "benchmark").glob("*.json"))
    assert files
    for file in files:
        for table in read_tables(file):
            assert markdown_table(table).removeprefix("### ") in told, file
        content = json.loads(file.read_text())
        assert content["command"] in told and content["date"] in told
        dirty = ", with changes" if content["source"]["dirty"] else ""
        assert f"; source {content['source']['commit'][:7]}{dirty}." in told
