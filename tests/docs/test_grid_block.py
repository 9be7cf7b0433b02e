"""The documented grid is what the leaderboard's CSV says, the base first."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from boards import write_suite
from grid_block import grid, write_grid

from semaim_mm.errors import InputError
from semaim_mm.leaderboard.asked import asked_board, read_asked
from semaim_mm.leaderboard.write.csv_file import FIELDS
from semaim_mm.suite.stages import Stage
from semaim_mm.suite.state import write_state

SPAN = "over_pretraining_seeds_"


def line(method: str, value: float, **more: str) -> str:
    found = dict(kind="measured", task="knn", method=method, metric="top1", headline="true")
    found |= {"value": str(value), f"{SPAN}n": "3", f"{SPAN}low": "30", f"{SPAN}high": "50"}
    found |= more
    return ",".join(found.get(name, "") for name in FIELDS)


def test_a_grid_is_shown_beside_its_base(tmp_path):
    lines = [
        ",".join(FIELDS),
        line("order=raster", 41.26),
        line("base", 40.0),
        line("base", 99.0, headline="false", metric="top5"),
        line("base", 55.0, task="linear"),
        line("SemAIM", 84.1, kind="published"),
    ]
    path = tmp_path / "grid.csv"
    path.write_text("\n".join(lines))
    with pytest.raises(InputError, match=r"without grid.json, which says how .*grid_block.py SPEC"):
        grid(str(path))
    told = dict(command="run me", start="2026-01-01T00", end="2026-01-02T00", process_hours=2.5)
    told |= dict(device=["cpu"], machine="2 shared cores", versions=dict(torch=["2.11.0"]))
    raster = {"0": 41.0, "1": 43.5, "2": 39.28}  # by seed 1.0, 1.5, 1.28 above the base
    told["scores"] = dict(knn={"base": {"0": 40.0, "1": 42.0, "2": 38.0}, "order=raster": raster})
    path.with_suffix(".json").write_text(json.dumps(told))
    first, _, *table = grid(str(path)).splitlines()
    assert first == (
        "`run me`, 2026-01-01 to 2026-01-02, 2.5 hours of processes of one thread on cpu, torch "
        f"2.11.0; 2 shared cores, `{path.with_suffix('.json')}`. Mean over pretraining seeds with "
        "its 95 % interval, in percent; the difference from the base is paired by seed, and its "
        "interval is not corrected for how many cells there are."
    )
    assert table == [
        "| cell | seeds | knn top1 | from base | linear top1 | from base |",
        "| -- | --: | --: | --: | --: | --: |",
        "| `base` | 3 | 40.0 (30.0 to 50.0) |  | 55.0 (30.0 to 50.0) |  |",
        "| `order=raster` | 3 | 41.3 (30.0 to 50.0) | +1.3 (+0.6 to +1.9) | - | - |",
    ]


def test_a_grid_that_nobody_ran_says_so(tmp_path):
    assert grid(str(tmp_path / "none.csv")) == "Not measured yet.\n"


def test_a_finished_grid_is_written_with_how_it_was_measured(tmp_path):
    root = write_suite(tmp_path / "suite")
    board = asked_board(root, read_asked(root), resamples=50)
    stage = Stage("s", "test", "m", "t", 0, "leaf.py", {}, tmp_path / "run")
    write_state(stage, status="complete", seconds=7200.0)
    path = tmp_path / "measured" / "grid.csv"
    with pytest.raises(InputError, match="results are absent"):
        write_grid(board, [stage], "run me", "a box", path)
    assert not path.exists()
    write_grid(replace(board, absent=(), excluded=()), [stage], "run me", "a box", path)
    told = json.loads(path.with_suffix(".json").read_text())
    assert (told["command"], told["machine"], told["process_hours"]) == ("run me", "a box", 2)
    assert told["versions"]["torch"] and told["start"] <= told["end"] and told["commits"]
    row = next(row for group in board.groups for row in group.rows if row.method == "ours")
    assert set(told["scores"][board.groups[0].task]["ours"]) == {
        str(run.pretraining_seed) for run in row.runs
    }
    assert "2 hours of processes" in grid(str(path)) and "| `ours` | 3 |" in grid(str(path))
