"""What a stage is expected to take: as its like took in this suite, else as was measured before."""

import json
from collections.abc import Mapping, Sequence
from importlib.resources import files
from typing import NamedTuple

from semaim_mm.suite.stages import Stage
from semaim_mm.suite.state import read_state

SHIPPED = "measured_seconds.json"


class Expected(NamedTuple):
    """Seconds of a stage's process, and whether they are from another machine."""

    seconds: float
    elsewhere: bool


def shipped() -> Mapping:
    """-> the times that come with the package: ``machine``, ``command``, ``date``, ``seconds``."""
    return json.loads(files("semaim_mm.suite").joinpath(SHIPPED).read_text())


def expectations(stages: Sequence[Stage]) -> dict[str, Expected]:
    """Stages -> what each is expected to take, by name; one whose like never ran is left out.

    Alike are stages of the same leaf and kind that train as long.
    """
    here: dict[tuple, float] = {}
    for stage in stages:
        record = read_state(stage)
        if record and record.get("status") == "complete" and record.get("seconds"):
            here[_kind(stage)] = record["seconds"]
    before = shipped()["seconds"]
    found = {}
    for stage in stages:
        if (seconds := here.get(_kind(stage))) is not None:
            found[stage.name] = Expected(seconds, False)
            continue
        leaf, kind, length = _kind(stage)
        seconds = None if length else before.get(f"{leaf} {kind}")
        if seconds is not None:
            found[stage.name] = Expected(seconds, True)
    return found


def _kind(stage: Stage) -> tuple:
    length = {k: v for k, v in stage.options.items() if k.startswith("train_cfg.")}
    return stage.config, stage.kind, tuple(sorted(length.items()))
