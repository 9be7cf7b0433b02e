"""What a row is called, what has to be said of it, which of its metrics a table has room for."""

from collections.abc import Sequence

from semaim_mm.leaderboard.compare import Difference
from semaim_mm.leaderboard.model import Group, Row, Trial
from semaim_mm.leaderboard.scores import APART, HEADLINES, apart
from semaim_mm.leaderboard.write.text import clean

IN_A_TABLE = ("selection", "pretrained_on")  # of APART, what has no column of its own
# metrics that a table shows beside the headline; the others stand in a cell's provenance
MAIN = (*HEADLINES, "top5", "mAcc", "aAcc", "bbox_mAP_50", "bbox_mAP_75", "bbox_AR@100")


def marks(row: Row) -> list[str]:
    """What has to be said of a row, beginning with what keeps it from being ranked."""
    found = [f"not ranked: {row.doubt}"] if row.doubt else []
    found += ["n = 1: no spread over pretraining seeds is known"] if row.single else []
    return found + list(row.notes)


def shown_metrics(group: Group) -> list[str]:
    """The headline, and what else of MAIN a group has."""
    return [group.headline, *(n for n in group.metrics if n in MAIN and n != group.headline)]


def settings(trial: Trial) -> str:
    """What a trial tried, in a line."""
    return ", ".join(f"{key}={value}" for key, value in trial.settings.items()) or "not recorded"


def labels(rows: Sequence[Row], most: int = 32, fields: Sequence[str] = APART) -> list[str]:
    """Rows -> names for a chart's axis or a table, with what tells a method's several apart.

    ``fields``: those of a row that are not told elsewhere.
    """
    found = []
    for row in rows:
        told = apart(row, [other for other in rows if other.method == row.method], fields)
        of = f" ({clean(', '.join(told), most)})" if told else ""
        found.append(clean(row.method, most) + of)
    return found


def compared(item: Difference) -> str:
    """The first method of a comparison, with what tells it from the pair's others in its group."""
    return item.first + (f" ({item.variant})" if item.variant else "")
