"""From a folder of results to a leaderboard that can be opened, told on the terminal."""

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from semaim_mm.data.prepare.overlap import Overlap
from semaim_mm.leaderboard.asked import asked_board, read_asked
from semaim_mm.leaderboard.write.console import overview_table
from semaim_mm.leaderboard.write.curves import learning_curves
from semaim_mm.leaderboard.write.files import write_files
from semaim_mm.leaderboard.write.order_maps import analysis_figures, order_maps
from semaim_mm.leaderboard.write.text import clean


def write_leaderboard(
    results: Path, out: Path, console: Console, overlaps: Sequence[Overlap] | None = None
) -> Path:
    """Write the leaderboard of a folder of results to ``out``, say what it says -> its page.

    Raises:
        InputError: no such folder, a suite.json that is none, an ``out`` that can't be written.
    """
    asked = read_asked(results)
    board = asked_board(results, asked, overlaps=overlaps)
    maps, left_out = order_maps(results)
    figures, more = analysis_figures(results)
    curves = learning_curves(results, asked)
    written = write_files(board, out, curves, [*maps, *figures], left_out + more)
    console.print(overview_table(board))
    for item in board.comparisons:
        told = f"{item.task}: {item.verdict}" if item.task else item.verdict
        console.print(clean(told), markup=False)
    for item in board.absent:
        if item.kind == "failed":
            console.print(clean(f"failed: {item.method}, {item.task} ({item.log})"), markup=False)
    for item in board.excluded:
        console.print(clean(f"excluded: {item.reason}"), markup=False)
    console.print("\nFiles written:")
    for path in written:
        console.print(f"  {path}", markup=False)
    return next(path for path in written if path.suffix == ".html")
