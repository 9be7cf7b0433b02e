"""All files of a leaderboard, by the tool: what it writes, says and refuses."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import sys
from pathlib import Path

import pytest
from boards import HOSTILE, write_hostile, write_suite

from semaim_mm.errors import InputError
from semaim_mm.leaderboard.model import as_json
from semaim_mm.leaderboard.table import leaderboard
from semaim_mm.leaderboard.write.files import write_files

TOOL = Path(__file__).resolve().parents[2] / "tools" / "leaderboard.py"
NAMES = ["leaderboard.md", "leaderboard.csv", "leaderboard.json", "leaderboard.tex", "index.html"]


def run_tool(monkeypatch, *arguments) -> None:
    spec = importlib.util.spec_from_file_location("leaderboard_tool", TOOL)
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    monkeypatch.setattr(sys, "argv", ["leaderboard.py", *map(str, arguments)])
    tool.main()


@pytest.fixture(scope="module")
def suite(tmp_path_factory):
    return write_suite(tmp_path_factory.mktemp("suite"))


def test_the_tool_writes_five_files_and_names_them(suite, tmp_path, monkeypatch, capsys):
    run_tool(monkeypatch, suite, "--out", tmp_path / "deep" / "out")
    said = capsys.readouterr().out
    assert sorted(os.listdir(tmp_path / "deep" / "out")) == sorted(NAMES)
    for name in NAMES:
        assert str(tmp_path / "deep" / "out" / name) in said.replace("\n", "")
    assert "ours differs from theirs" in said and "1 seed failed" in said
    assert "excluded: broken/seed0/result.json says that its run is failed" in said


def test_the_same_results_give_the_same_bytes_wherever_they_lie(suite, tmp_path, monkeypatch):
    shutil.copytree(suite, tmp_path / "elsewhere" / "copy")
    run_tool(monkeypatch, suite, "--out", tmp_path / "a")
    run_tool(monkeypatch, tmp_path / "elsewhere" / "copy", "--out", tmp_path / "b")
    for name in NAMES:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes(), name
        assert str(suite).encode() not in (tmp_path / "a" / name).read_bytes()


def test_json_is_the_data_model_and_has_names_as_they_are(tmp_path):
    board = leaderboard(write_hostile(tmp_path / "r"), resamples=0)
    write_files(board, tmp_path / "out")
    found = json.loads((tmp_path / "out" / "leaderboard.json").read_text())
    assert found == as_json(board)
    names = {row["method"] for group in found["groups"] for row in group["rows"]}
    assert names == set(HOSTILE)


def test_hostile_names_are_printed_as_they_are_and_not_as_markup(tmp_path, monkeypatch, capsys):
    write_hostile(tmp_path)
    run_tool(monkeypatch, tmp_path, "--out", tmp_path / "out")
    said = capsys.readouterr().out
    assert "[bracketed]" in said and "\x1b[31m" not in said and "\u202e" not in said


def test_no_folder_of_results_is_named(tmp_path, monkeypatch):
    with pytest.raises(InputError, match="There is no folder of results at"):
        run_tool(monkeypatch, tmp_path / "none", "--out", tmp_path / "out")


def test_a_folder_that_cannot_be_written_is_named(suite, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="can't be written to .* name another folder with --out"):
        write_files(leaderboard(tmp_path), tmp_path / "file")
