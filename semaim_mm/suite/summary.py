"""``suite.json``: what a suite asks for and how far it got, for the leaderboard to read.

One JSON file in the suite's folder: its methods, tasks, seeds and declared comparisons, and every
stage with its status ('complete', 'failed', 'interrupted', 'waits', 'running', 'to run') and log.
"""

import fcntl
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from semaim_mm.data.held_out import innermost
from semaim_mm.data.prepare.manifest import data_record
from semaim_mm.errors import InputError
from semaim_mm.report.result import replacing
from semaim_mm.runtime.launch import configs_read_once, load_config
from semaim_mm.runtime.spread import spread_keys
from semaim_mm.suite.execute import Outcome
from semaim_mm.suite.spec import Spec
from semaim_mm.suite.stages import Stage
from semaim_mm.suite.state import read_state
from semaim_mm.suite.view import states_of

FILE_NAME = "suite.json"


@configs_read_once()
def write_summary(spec: Spec, stages: Sequence[Stage], outcomes: Sequence[Outcome] = ()) -> Path:
    """Write a suite's plan and state; a stage counts as complete only with its present key.

    Raises:
        InputError: comparisons that are not those declared before the first result.
    """
    states = states_of(stages)
    _check_declared(spec)
    ended = {outcome.stage.name: outcome for outcome in outcomes}
    content = dict(
        suite=spec.name,
        methods=list(spec.methods),
        tasks=list(spec.tasks),
        seeds=list(spec.seeds),
        comparisons=[list(pair) for pair in spec.comparisons],
        notes=dict(spec.notes),
        truth=_truth(spec),
        stages=[_row(spec, stage, states[stage.name], ended.get(stage.name)) for stage in stages],
    )
    with _locked(spec.folder):
        return _write(spec.folder, content)


def write_outcome(spec: Spec, outcome: Outcome) -> None:
    """Say in ``suite.json`` how one stage ended, so that it is true whenever the run is killed."""
    with _locked(spec.folder):
        content = json.loads((spec.folder / FILE_NAME).read_text())
        row = _row(spec, outcome.stage, "", outcome)
        content["stages"] = [row if s["stage"] == row["stage"] else s for s in content["stages"]]
        _write(spec.folder, content)


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Runs of a suite's parts write one file in turn."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / f".{FILE_NAME}.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _write(folder: Path, content: dict[str, Any]) -> Path:
    with replacing(folder / FILE_NAME) as temporary:
        temporary.write_text(json.dumps(content, indent=1) + "\n")
    return folder / FILE_NAME


def _truth(spec: Spec) -> dict[str, str]:
    """-> COCO annotation files by the data's name, which intervals over images need."""
    found = {}
    for task in spec.tasks.values():
        cfg = load_config(task.config, dict(task.options))
        spread_keys(cfg)
        evaluator = cfg.get("test_evaluator") or {}
        if "ann_file" in evaluator:
            name = data_record(innermost(cfg.test_dataloader.dataset))["name"]
            found[name] = Path(os.path.relpath(evaluator["ann_file"], spec.folder)).as_posix()
    return found


def _check_declared(spec: Spec) -> None:
    try:
        former = json.loads((spec.folder / FILE_NAME).read_text())
        declared = [tuple(pair) for pair in former["comparisons"]]
        done = sum(s["kind"] == "test" and s["status"] == "complete" for s in former["stages"])
    except (OSError, ValueError, TypeError, KeyError):
        return
    if done and declared != list(spec.comparisons):
        raise InputError(
            f"{spec.folder} has {done} results, before which {declared or 'nothing'} was declared "
            f"to be compared; now it is {list(spec.comparisons)}. Keep what was declared, or give "
            "the suite another name."
        )


def _row(spec: Spec, stage: Stage, state: str, outcome: Outcome | None) -> dict[str, Any]:
    record = read_state(stage) or {}
    if outcome is not None:
        status = outcome.status
    elif state == "finished":
        status = "complete"
    else:
        status = record.get("status", "to run")
        status = "to run" if status == "complete" else status
    log = outcome.log if outcome is not None and outcome.log else record.get("log")
    return dict(
        stage=stage.name,
        method=stage.method,
        task=stage.task,
        seed=stage.seed,
        kind=stage.kind,
        status="complete" if status == "finished before" else status,
        log=None if log is None else Path(os.path.relpath(log, spec.folder)).as_posix(),
        seconds=record.get("seconds"),
        trial=stage.trial,
        settings=None if stage.trial is None else _settings(spec, stage),
    )


def _settings(spec: Spec, stage: Stage) -> dict[str, Any]:
    return {key: stage.options[key] for key in spec.sweep[stage.task]}
