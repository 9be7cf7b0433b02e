"""What a check of a data set found: each kind of fault once, by count and name, with its mending.

A ``difference`` is a set that is not as published, or not as complete as it could be, but works; a
``fault`` is what training or evaluation would stumble over.
"""

from collections.abc import Iterable
from typing import NamedTuple

EXAMPLES = 5


class Finding(NamedTuple):
    """One line of a report; ``difference`` says that it may be let pass and recorded."""

    text: str
    mend: str
    difference: bool

    def __str__(self) -> str:
        return f"{self.text}; {self.mend}"


class Findings(list[Finding]):
    """Findings in the order in which they were made."""

    def fault(self, what: str, names: Iterable[str], mend: str) -> None:
        """Add 'what: 12 (a, b, ...)' where there are any names."""
        self._add(what, names, mend, difference=False)

    def difference(self, what: str, names: Iterable[str], mend: str) -> None:
        """Add the same as something that may be let pass."""
        self._add(what, names, mend, difference=True)

    def count(self, what: str, found: int, expected: int, mend: str) -> None:
        """Add 'what: 49,998 instead of 50,000' where the numbers differ."""
        if found != expected:
            self.append(Finding(f"{what}: {found:,} instead of {expected:,}", mend, True))

    def _add(self, what: str, names: Iterable[str], mend: str, difference: bool) -> None:
        names = sorted(names)
        if names:
            self.append(Finding(f"{what}: {len(names):,} ({named(names)})", mend, difference))

    @property
    def faults(self) -> list[Finding]:
        return [finding for finding in self if not finding.difference]

    @property
    def differences(self) -> list[Finding]:
        return [finding for finding in self if finding.difference]


def named(names: list[str]) -> str:
    """-> the first names, and dots where there are more."""
    return ", ".join(map(printable, names[:EXAMPLES])) + (", ..." if len(names) > EXAMPLES else "")


def printable(name: str) -> str:
    """A file name -> the same on one line, what is no text escaped."""
    text = name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def as_lines(findings: Iterable[Finding]) -> str:
    """-> one indented line a finding, each after a line break."""
    return "".join(f"\n  - {finding}" for finding in findings)
