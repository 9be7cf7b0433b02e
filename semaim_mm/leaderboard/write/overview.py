"""Methods x tasks at a glance: a headline figure a cell, every protocol in a column of its own."""

from collections.abc import Sequence
from dataclasses import dataclass

from semaim_mm.leaderboard.intervals import OVER_PRETRAINING
from semaim_mm.leaderboard.model import Absent, Group, Leaderboard, Row
from semaim_mm.leaderboard.scores import apart
from semaim_mm.leaderboard.table import LABELLED, OWN
from semaim_mm.leaderboard.write.cost import Cost, cost_of
from semaim_mm.leaderboard.write.text import NONE, clean, plural, with_margin


@dataclass(frozen=True)
class Column:
    """A group, or a task of which nothing is measured: then ``group`` is None."""

    task: str
    group: Group | None
    about: str = "nothing measured"


@dataclass(frozen=True)
class Entry:
    """What a method has in a column: rows (several where checkpoints were selected differently)."""

    headline: str = ""
    rows: tuple[Row, ...] = ()
    absent: tuple[Absent, ...] = ()
    not_asked: bool = False

    def told(self) -> str:
        """-> in a few words."""
        found = []
        for row in self.rows:
            several = f" [{clean(row.selection, 30)}]" if len(self.rows) > 1 else ""
            several += ", not ranked" if row.doubt else ""
            found.append(with_margin(row.cells[self.headline].over_pretraining) + several)
        for kind, number in self.lacking.items():
            found.append(f"{plural(number, 'seed')} {kind}")
        return "; ".join(found) or self.nothing

    @property
    def nothing(self) -> str:
        """What stands where a method has no result: nobody asked for one, or nobody knows."""
        return "not asked" if self.not_asked else NONE

    @property
    def lacking(self) -> dict[str, int]:
        """Seeds without a result by why: 'failed', 'not run'."""
        kinds = [item.kind for item in self.absent]
        return {kind: kinds.count(kind) for kind in dict.fromkeys(kinds)}


@dataclass(frozen=True)
class Line:
    """A method of one size after one pretraining, its seeds apart; ``entries`` one a column.

    ``of`` tells lines of one method, size and length of pretraining apart, '' where there is one.
    """

    method: str
    arch: str
    cost: Cost | None
    entries: tuple[Entry, ...]
    of: str = ""

    def label(self, most: int | None = None) -> str:
        """-> the method, with its pretraining data where other lines are alike but for that."""
        return clean(self.method, most) + (f" ({clean(self.of, most)})" if self.of else "")


@dataclass(frozen=True)
class Overview:
    """Never ranked: its columns are measured under several protocols."""

    columns: tuple[Column, ...]
    lines: tuple[Line, ...]


def overview(board: Leaderboard) -> Overview:
    """A leaderboard -> methods x tasks, in the order that was asked for, else by name."""
    columns = columns_of(board)
    keys = {_key(row): row for group in board.groups for row in group.rows}
    alone = {item.method for item in board.absent} - {method for method, *_ in keys}
    lines = [*keys, *((method, "", None, None) for method in alone)]
    lines.sort(key=lambda key: (place(key[0], board.methods), key[1], key[2] or 0, key[3] or ""))
    seen: set[str] = set()
    found = []
    for key in lines:
        # an absent result knows no size: it stands with the method's first line
        absent = [item for item in board.absent if item.method == key[0] not in seen]
        seen.add(key[0])
        entries = tuple(
            _entry(
                column,
                key,
                [a for a in absent if _home(a, columns) is column],
                (key[0], column.task) in board.not_asked,
            )
            for column in columns
        )
        cost = cost_of(keys[key]) if key in keys else None
        alike = [row for other, row in keys.items() if other[:3] == key[:3]]
        of = apart(keys[key], alike, ["pretrained_on"]) if key in keys else []
        found.append(Line(key[0], key[1], cost, entries, ", ".join(of)))
    return Overview(columns, tuple(found))


def columns_of(board: Leaderboard) -> tuple[Column, ...]:
    """Groups, and tasks without any, in the order of the tasks that were asked for."""
    columns = [Column(group.task, group, _about(group, board)) for group in board.groups]
    empty = {item.task for item in board.absent} - {column.task for column in columns}
    columns += [Column(task, None) for task in empty]
    return tuple(sorted(columns, key=lambda column: place(column.task, board.tasks)))


def both_spreads(board: Leaderboard) -> str:
    """A sentence on the tasks whose intervals have the spread of two trainings; '' without any."""
    own = [
        clean(group.task, 30)
        for group in ordered_groups(board)
        for row in group.rows
        if row.cells[group.headline].over_pretraining.over != OVER_PRETRAINING
    ]
    told = ", ".join(dict.fromkeys(own))
    each = "each pretraining seed has its own finetuning or probe, the interval the spread of both"
    return f"In {told} {each}." if told else ""


def by_labels(board: Leaderboard) -> str:
    """A sentence on the methods whose pretraining a supervised teacher taught; '' without any."""
    told = {
        f"{clean(row.method, 60)} {'predicts ' * note.startswith(OWN)}{clean(note, 160)}"
        for group in board.groups
        for row in group.rows
        for note in row.notes
        if note.endswith(LABELLED)
    }
    return f"Not self-supervised: {'; '.join(sorted(told))}." if told else ""


def caveats(board: Leaderboard) -> str:
    """What has to be said above or below the overview, in sentences; '' where nothing has."""
    return " ".join(filter(None, [both_spreads(board), by_labels(board)]))


def methods_of(board: Leaderboard) -> list[str]:
    """Every method measured or asked for, in the order that was asked for, else by name."""
    names = {row.method for group in board.groups for row in group.rows}
    names |= {item.method for item in board.absent}
    return sorted(names, key=lambda name: place(name, board.methods))


def ordered_groups(board: Leaderboard) -> tuple[Group, ...]:
    """The groups in the order of the overview's columns."""
    return tuple(column.group for column in columns_of(board) if column.group is not None)


def title_of(group: Group, board: Leaderboard) -> str:
    """A group's task, with its data or protocol where the task has several."""
    alike = [other for other in board.groups if other.task == group.task]
    if len(alike) == 1:
        return clean(group.task, 60)
    apart = len({other.data for other in alike}) == len(alike)
    return f"{clean(group.task, 40)} · {clean(group.data, 24) if apart else group.fingerprint[:8]}"


def place(name: str, order: Sequence[str]) -> tuple[int, str]:
    """What to sort a name by: its place in an order, strangers behind and by name."""
    return (order.index(name) if name in order else len(order), name)


def _key(row: Row) -> tuple[str, str, int | None, str | None]:
    return row.method, row.arch, row.epochs, row.pretrained_on


def _entry(column: Column, key: tuple, absent: Sequence[Absent], not_asked: bool) -> Entry:
    rows = column.group.rows if column.group else ()
    mine = tuple(row for row in rows if _key(row) == key)
    return Entry(column.group.headline if column.group else "", mine, tuple(absent), not_asked)


def _home(item: Absent, columns: Sequence[Column]) -> Column:
    """Under which of a task's protocols a missing result was to be, as far as one can tell."""

    def nearness(column: Column) -> tuple[int, int]:
        rows = column.group.rows if column.group else ()
        return sum(row.method == item.method for row in rows), len(rows)

    return max((column for column in columns if column.task == item.task), key=nearness)


def _about(group: Group, board: Leaderboard) -> str:
    """What tells a group from the others of its task: the data too where that alone differs."""
    told = f"{clean(group.headline, 24)} · {group.fingerprint[:8]}"
    alike = [g for g in board.groups if (g.task, g.fingerprint) == (group.task, group.fingerprint)]
    if len(alike) > 1:
        told += f" · {clean(group.data, 24)} {(group.manifest or 'no manifest')[:8]}"
    return told
