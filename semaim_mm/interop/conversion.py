"""The account of a conversion: what became of every key, and what is written."""

from typing import Any, NamedTuple

from torch import Tensor


class Row(NamedTuple):
    """What became of one key; ``old`` is None for one added, ``new`` for one left out."""

    old: str | None
    new: str | None
    why: str = ""

    def __str__(self) -> str:
        if self.old is None:
            return f"{self.new} added: {self.why}"
        if self.new is None:
            return f"{self.old} left out: {self.why}"
        return f"{self.old} kept" if self.old == self.new else f"{self.old} -> {self.new}"


class Conversion(NamedTuple):
    """Weights under their new names, and the account of every key."""

    title: str
    rows: list[Row]
    state: dict[str, Tensor]
    note: dict[str, Any]
    remarks: tuple[str, ...] = ()

    def lines(self) -> list[str]:
        """-> what to print: the direction, a line a key, remarks, the counts."""
        read = [row for row in self.rows if row.old is not None]
        kept = sum(row.old == row.new for row in read)
        left_out = sum(row.new is None for row in read)
        counts = (
            f"{len(read)} keys read: {len(read) - kept - left_out} renamed, {kept} kept, "
            f"{left_out} left out; {len(self.rows) - len(read)} added; {len(self.state)} written"
        )
        return [self.title, *map(str, self.rows), *self.remarks, counts]
