"""The documented grid is what the leaderboard's CSV says, the base first."""

from __future__ import annotations

from grid_block import grid

from semaim_mm.leaderboard.write.csv_file import FIELDS

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
    (tmp_path / "grid.csv").write_text("\n".join(lines))
    assert grid(str(tmp_path / "grid.csv")).splitlines() == [
        "| cell | seeds | knn top1 | from base | linear top1 | from base |",
        "| -- | --: | --: | --: | --: | --: |",
        "| `base` | 3 | 40.0 (30.0 to 50.0) |  | 55.0 (30.0 to 50.0) |  |",
        "| `order=raster` | 3 | 41.3 (30.0 to 50.0) | +1.3 | - | - |",
    ]


def test_a_grid_that_nobody_ran_says_so(tmp_path):
    assert grid(str(tmp_path / "none.csv")) == "Not measured yet.\n"
