"""The leaderboard in a terminal: the overview, and what was declared."""

from rich.table import Table
from rich.text import Text

from semaim_mm.leaderboard.model import Leaderboard
from semaim_mm.leaderboard.write.overview import caveats, overview
from semaim_mm.leaderboard.write.text import clean

CAPTION = "mean over pretraining seeds ± half its 95 % interval; no ranking across columns"


def overview_table(board: Leaderboard) -> Table:
    """-> methods x tasks; names are shown as they are, without rich's markup."""
    found = overview(board)
    title = f"Leaderboard {clean(board.suite, 40)}".strip()
    notes = (f"{clean(task, 30)}: {clean(note)}" for task, note in board.notes.items())
    caption = "\n".join(filter(None, [CAPTION, caveats(board), *notes]))
    view = Table(title=Text(title), caption=Text(caption), caption_justify="left")
    view.add_column("method")
    for column in found.columns:
        title = Text(f"{clean(column.task, 30)}\n{column.about}")
        view.add_column(title, justify="right")
    for line in found.lines:
        cells = (Text(entry.told()) for entry in line.entries)
        view.add_row(Text(line.label(40)), *cells)
    return view
