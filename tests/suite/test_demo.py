"""The demo ends in its leaderboard: whole, with figures missing, and with a stage that failed."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
from machine import Machine

from semaim_mm.errors import InputError
from semaim_mm.suite import run as run_module

TOOL = Path(__file__).resolve().parents[2] / "tools" / "demo.py"


@pytest.fixture
def demo(tmp_path, monkeypatch):
    """-> runs the tool with a stand-in for its stages' processes; (exit code, drawn figures)."""
    monkeypatch.setenv("SEMAIM_DATA", str(tmp_path / "data"))
    spec = importlib.util.spec_from_file_location("demo_tool", TOOL)
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    machine, drawn, read = Machine(), [], tool.read_spec
    monkeypatch.setattr(run_module, "_jobs", lambda *rest: machine)
    machine.score = lambda stage: 40.0 + len(stage.method)
    monkeypatch.setattr(tool, "read_spec", lambda path: read(path)._replace(out=tmp_path / "runs"))
    monkeypatch.setattr(tool, "build_sample_data", lambda *given, **how: tmp_path)
    monkeypatch.setattr(tool, "write_order_figures", lambda *given, out: drawn.append(out.name))
    monkeypatch.setattr(tool, "analyze", lambda *given, out: drawn.append(out.name))
    monkeypatch.setattr("sys.argv", ["demo.py", "--workers", "1"])

    def run() -> int:
        with pytest.raises(SystemExit) as ended:
            tool.main()
        return ended.value.code

    return tool, machine, drawn, run


def page(tmp_path) -> str:
    return (tmp_path / "runs" / "demo" / "leaderboard" / "index.html").read_text()


def test_the_demo_ends_in_its_leaderboard(demo, tmp_path, capsys):
    _, machine, drawn, run = demo
    assert run() == 0
    assert drawn == ["orders", "analysis"]
    assert f"Open {tmp_path / 'runs/demo/leaderboard/index.html'} in" in capsys.readouterr().out
    methods = {name.split("/")[0] for name in machine.ran}
    assert methods == {"semantic", "raster", "random", "pixels"}
    assert all(method in page(tmp_path) for method in methods)


@pytest.mark.slow
def test_a_figure_that_can_not_be_drawn_leaves_the_table(demo, tmp_path, monkeypatch, capsys):
    tool, _, drawn, run = demo

    def refused(*given, out):
        raise InputError("no room for figures")

    monkeypatch.setattr(tool, "analyze", refused)
    assert run() == 0 and drawn == ["orders"]
    assert "Figures are missing from the page: no room for figures" in capsys.readouterr().out
    assert "semantic" in page(tmp_path)


@pytest.mark.slow
def test_a_stage_that_fails_is_in_the_table_and_in_the_exit_code(demo, tmp_path):
    _, machine, drawn, run = demo
    machine.fails = {"semantic/seed0/pretrain"}
    assert run() != 0 and drawn == []
    assert "failed" in page(tmp_path)
