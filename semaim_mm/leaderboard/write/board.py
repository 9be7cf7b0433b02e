"""From a folder of results to a leaderboard that can be opened, told on the terminal."""

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from semaim_mm.data.prepare.overlap import Overlap
from semaim_mm.errors import InputError
from semaim_mm.interop.checkpoint_file import sha256_of
from semaim_mm.leaderboard.asked import asked_board, read_asked
from semaim_mm.leaderboard.write.console import overview_table
from semaim_mm.leaderboard.write.curves import learning_curves
from semaim_mm.leaderboard.write.files import write_files
from semaim_mm.leaderboard.write.order_maps import analysis_figures, order_maps
from semaim_mm.leaderboard.write.text import clean


def by_content(truth: Sequence[str | Path]) -> dict[str, str | Path]:
    """Annotation files -> the same by their SHA-256; InputError names one that is not there."""
    for path in truth:
        if not Path(path).is_file():
            raise InputError(f"There is no annotation file at {path}; mend --truth.")
    return {sha256_of(path): path for path in truth}


def write_leaderboard(
    results: Path,
    out: Path,
    console: Console,
    overlaps: Sequence[Overlap] | None = None,
    truth: Sequence[str | Path] = (),
) -> Path:
    """Write the leaderboard of a folder of results to ``out``, say what it says -> its page.

    ``truth``: COCO annotation files of test sets, for the intervals of AP; a result takes the one
    that it was scored against, known by its content.

    Raises:
        InputError: no such folder or file of ``truth``, a suite.json that is none, an ``out`` that
            can't be written.
    """
    asked = read_asked(results)
    board = asked_board(results, asked, overlaps=overlaps, truth=by_content(truth))
    maps, left_out = order_maps(results)
    figures, more = analysis_figures(results)
    curves = learning_curves(results, asked)
    written = write_files(board, out, curves, [*maps, *figures], left_out | more)
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
