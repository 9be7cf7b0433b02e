"""What a stage is expected to take: as its like took in this suite, else as was measured before."""

import json
from collections.abc import Mapping, Sequence
from importlib.resources import files
from statistics import median
from typing import NamedTuple

from semaim_mm.suite.stages import Stage
from semaim_mm.suite.state import read_state

SHIPPED = "measured_seconds.json"
# length, width and depth, decoder, and whether a teacher runs
COSTLY = ("train_cfg.", "model.backbone.arch", "model.neck.", "model.target_generator.type")


class Expected(NamedTuple):
    """Seconds of a stage's process, and whether they are from another machine."""

    seconds: float
    elsewhere: bool


def shipped() -> list[Mapping]:
    """-> the times that come with the package, of each measured suite.

    ``machine``, ``command``, ``date``, and ``seconds`` by kind of stage.
    """
    return json.loads(files("semaim_mm.suite").joinpath(SHIPPED).read_text())


def machines() -> str:
    """-> on what the shipped times were measured, in words."""
    return "; ".join(dict.fromkeys(found["machine"] for found in shipped()))


def expectations(stages: Sequence[Stage]) -> dict[str, Expected]:
    """Stages -> what each is expected to take, by name; one whose like never ran is left out.

    Here the same stage of another seed comes before the median of those alike (``kind_of``), and
    what was measured elsewhere last.
    """
    same: dict[tuple, float] = {}
    alike: dict[str, list[float]] = {}
    for stage in stages:
        record = read_state(stage)
        if record and record.get("status") == "complete" and record.get("seconds"):
            same[stage.method, stage.but_for_its_seed] = record["seconds"]
            alike.setdefault(kind_of(stage), []).append(record["seconds"])
    here = {kind: median(seconds) for kind, seconds in alike.items()}
    before = {kind: seconds for found in shipped() for kind, seconds in found["seconds"].items()}
    found = {}
    for stage in stages:
        seconds = same.get((stage.method, stage.but_for_its_seed), here.get(kind_of(stage)))
        if seconds is not None:
            found[stage.name] = Expected(seconds, False)
        elif (seconds := before.get(kind_of(stage))) is not None:
            found[stage.name] = Expected(seconds, True)
    return found


def kind_of(stage: Stage) -> str:
    """A stage -> its leaf, its kind and the options that its cost hangs on most, in one text."""
    costly = {k: v for k, v in stage.options.items() if k.startswith(COSTLY)}
    return " ".join([stage.config, stage.kind, *(f"{k}={costly[k]}" for k in sorted(costly))])
