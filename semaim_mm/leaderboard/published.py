"""Scores that others published: each number with its source, kept apart from what is measured."""

from dataclasses import dataclass
from importlib.resources import files

import yaml

from semaim_mm.errors import InputError


@dataclass(frozen=True)
class Published:
    """A number in the literature. It has no fingerprint, so it is in no ranking.

    ``second_hand``: the source quotes somebody else's number. ``protocol``: what the source says of
    how it was measured, None where it says nothing.
    """

    method: str
    arch: str
    task: str
    metric: str
    value: float
    source: str
    second_hand: bool
    epochs: int | None = None
    protocol: str | None = None
    kind: str = "published"


def published(text: str | None = None) -> list[Published]:
    """-> the numbers of ``published.yaml``, or of another text of that form.

    Raises:
        InputError: an entry without a source, with an unknown field, or no number.
    """
    if text is None:
        text = files("semaim_mm.leaderboard").joinpath("published.yaml").read_text()
    found = []
    for number, entry in enumerate(yaml.safe_load(text) or [], start=1):
        try:
            row = Published(**entry)
        except TypeError as error:
            raise InputError(f"Entry {number} of published.yaml is not whole: {error}.") from error
        value = row.value
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 100:
            raise InputError(
                f"Entry {number} of published.yaml ({row.method}, {row.task}) has the value "
                f"{value!r}; scores are percent."
            )
        if not str(row.source or "").strip() or not isinstance(row.second_hand, bool):
            raise InputError(
                f"Entry {number} of published.yaml ({row.method}, {row.task}) needs a source and "
                "second_hand: true or false."
            )
        found.append(row)
    return found
