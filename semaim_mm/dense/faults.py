"""Faults of a data set: collected by kind, told by file and count, stopped at or left out."""

import logging
from collections.abc import Iterable, Mapping
from typing import NoReturn

from mmengine.logging import print_log

from semaim_mm.errors import InputError

EXAMPLES = 3

# kind -> dict(where=[position or name of each], examples=[up to three, told to the user])
Faults = dict[str, dict[str, list]]


def check_choice(faults: str) -> None:
    """Raise InputError unless the config's ``faults`` is one of the two words it may be."""
    if faults not in ("stop", "drop"):
        raise InputError(
            f"faults={faults!r} is neither 'stop' nor 'drop'; mend the data set's config."
        )


def add_fault(found: Faults, kind: str, where: int | str, example: str) -> None:
    """Note one more fault of a kind; equal examples are kept once."""
    entry = found.setdefault(kind, dict(where=[], examples=[]))
    entry["where"].append(where)
    if len(entry["examples"]) < EXAMPLES and example not in entry["examples"]:
        entry["examples"].append(example)


def tell(found: Faults, phrases: Mapping[str, str]) -> list[str]:
    """-> a line a kind, 'boxes of zero size: 2 (annotation 7 in a.jpg, ...)', as phrases order."""
    lines = []
    for kind in (kind for kind in phrases if kind in found):
        count, examples = len(found[kind]["where"]), found[kind]["examples"]
        more = ", ..." if count > len(examples) == EXAMPLES else ""
        lines.append(f"{phrases[kind]}: {count} ({', '.join(examples)}{more})")
    return lines


def counts(found: Faults) -> dict[str, int]:
    """-> {kind: number}."""
    return {kind: len(entry["where"]) for kind, entry in found.items()}


def split_kinds(found: Faults, kinds: Iterable[str]) -> tuple[Faults, Faults]:
    """-> the faults of the given kinds, and the rest."""
    kinds = set(kinds)
    return (
        {kind: entry for kind, entry in found.items() if kind in kinds},
        {kind: entry for kind, entry in found.items() if kind not in kinds},
    )


def stop(place: str, lines: list[str], test_mode: bool, may_drop: bool, also: str = "") -> NoReturn:
    """Raise the InputError that names a place and every kind of fault found there.

    ``also`` goes on with what an evaluation may do about them.
    """
    if test_mode:
        advice = (
            f"Correct the data; evaluation leaves nothing out, whatever bad_annotations says{also}."
        )
    elif may_drop:
        advice = (
            "Correct the data, or set bad_annotations='drop' in the config (faults='drop' of the "
            "training set) to train without what is named here."
        )
    else:
        advice = "Correct the data or the config; not all of this can be left out."
    listed = "".join(f"\n  - {line}" for line in lines)
    raise InputError(f"{place} can't be used as it is:{listed}\n{advice}")


def log_lines(head: str, lines: list[str], level: int = logging.WARNING) -> None:
    """One entry in the run's log, if there is anything to say."""
    if lines:
        listed = "".join(f"\n  - {line}" for line in lines)
        print_log(f"{head}:{listed}", logger="current", level=level)
