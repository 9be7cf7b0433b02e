"""Where a table's number comes from: what a cell opens, one record a result."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from semaim_mm.leaderboard.collect import Trusted, mapping
from semaim_mm.report.history import BUDGET, pretrained_record
from semaim_mm.report.result import finite

PRETRAINING, TRAINING = "pretraining", "training on the task"
STAGE = "stage.json"  # suite/state.py's record of the process that wrote a result


@dataclass(frozen=True)
class Run:
    """One result of a row. Paths are relative to the folder of results; None: not written down.

    ``command`` repeats the evaluation, ``chain`` has those before it, of PRETRAINING and TRAINING;
    ``log`` is the log of the run that wrote the result.
    ``budget`` is the pretraining's: epochs, images, FLOPs, device hours. ``coverage`` counts the
    weights that were matched, new and unused.
    """

    path: str
    digest: str
    scores: dict[str, float]
    pretraining_seed: int | None
    fitting_seed: int | None
    checkpoint: str | None
    checkpoint_sha256: str | None
    pretrained_sha256: str | None
    config_hash: str
    commit: str | None
    dirty: bool | None
    command: str | None
    chain: dict[str, str | None]
    log: str | None
    start: str
    end: str
    images: int
    device: str
    world_size: int
    versions: dict[str, str]
    training: dict[str, Any] | None
    budget: dict[str, Any] | None
    coverage: dict[str, int] | None
    chosen: dict[str, Any] | None


def run_of(root: Path, result: Trusted) -> Run:
    """A result -> its provenance."""
    content, folder = result.content, result.path.parent
    checkpoint, run = content["checkpoint"] or {}, content["run"]
    weights = mapping(pretrained_record(content))
    stage = stage_record(folder)
    return Run(
        path=_below(root, result.path),
        digest=content["digest"],
        scores={name: metric["value"] for name, metric in content["metrics"].items()},
        pretraining_seed=result.seeds.pretraining,
        fitting_seed=result.seeds.fitting,
        checkpoint=checkpoint.get("file"),
        checkpoint_sha256=checkpoint.get("sha256"),
        pretrained_sha256=result.pretrained,
        config_hash=content["config_hash"],
        commit=content["git"]["commit"],
        dirty=_dirty(content),
        command=text_of(run.get("command")) or text_of(stage.get("command")),
        chain=_chain(content),
        log=_log(root, folder, stage),
        start=content["start"],
        end=content["end"],
        images=content["n_evaluated"],
        device=content["hardware"]["device"],
        world_size=content["hardware"]["world_size"],
        versions=content["versions"],
        training=_plain(run.get("training")),
        budget=_budget(content["pretraining"]),
        coverage=_coverage(checkpoint.get("coverage") or weights.get("coverage")),
        chosen=_plain(run.get("chosen")),
    )


def _dirty(content: Mapping[str, Any]) -> bool | None:
    """Whether the evaluation or a training before it ran uncommitted source; None: not known."""
    made = [content["checkpoint"], pretrained_record(content)]
    found = [mapping(mapping(mapping(each).get("origin")).get("source")) for each in made]
    said = [content["git"]["dirty"], *(source.get("dirty") for source in found)]
    return True if any(said) else content["git"]["dirty"]


def _plain(record: Any) -> dict[str, Any] | None:
    return finite(mapping(record)) or None


def _budget(pretraining: Mapping[str, Any] | None) -> dict[str, Any] | None:
    return None if pretraining is None else {key: pretraining[key] for key in BUDGET}


def _chain(content: Mapping[str, Any]) -> dict[str, str | None]:
    """A result -> what was run before it and by which command, None where nobody wrote it down."""
    checkpoint, weights = content["checkpoint"], pretrained_record(content)
    found = {}
    if weights is not None:
        found[PRETRAINING] = _recorded(weights)
    if checkpoint is not None and content["protocol"].get("training") is not None:
        found[TRAINING] = _recorded(checkpoint)
    return found


def _recorded(record: Mapping[str, Any]) -> str | None:
    return text_of(mapping(mapping(record).get("origin")).get("command"))


def _coverage(record: Any) -> dict[str, int] | None:
    if not isinstance(record, Mapping):
        return None
    kinds = ("matched", "new", "unused", "changed")
    found = {kind: record[kind] for kind in kinds if isinstance(record.get(kind), int | list)}
    return {kind: v if isinstance(v, int) else len(v) for kind, v in found.items()}


def stage_record(folder: Path) -> dict[str, Any]:
    """-> what a suite wrote of the process that filled a folder; empty where it did not."""
    try:
        found = json.loads((folder / STAGE).read_text())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _log(root: Path, folder: Path, stage: Mapping[str, Any]) -> str | None:
    """The suite's log, else the newest that mmengine left, in a folder named after the time."""
    stated = text_of(stage.get("log"))
    if stated and (folder / Path(stated).name).is_file():
        return _below(root, folder / Path(stated).name)
    logs = sorted(folder.glob("*/*.log"))
    return _below(root, logs[-1]) if logs else None


def _below(root: Path, path: Path) -> str:
    return path.relative_to(root).as_posix()


def text_of(value: Any) -> str | None:
    """A text that says something -> itself; anything else -> None."""
    return value if isinstance(value, str) and value else None
