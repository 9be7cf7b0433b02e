"""Whether a training is over: ``status.json`` in its work dir.

``status`` is 'incomplete' until the last validation has ended, 'complete' then. ``validation`` is
the last one, so that a resumed run knows whether the one that was due has been done; ``stopped``
names the signal on which a run saved itself and left.
"""

import json
from pathlib import Path
from typing import Any

from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import Runner

from semaim_mm.report.result import replacing
from semaim_mm.runtime.reliable.ranks import from_main

FILE_NAME = "status.json"


def read_status(work_dir: str | Path) -> dict[str, Any]:
    """-> a work dir's status; {} where there is none that can be read."""
    try:
        status = json.loads(Path(work_dir, FILE_NAME).read_text())
    except (OSError, ValueError):
        return {}
    return status if isinstance(status, dict) else {}


def is_validated(runner: Runner) -> bool:
    """Whether the validation of the runner's iteration has been done, as its work dir says."""
    done = read_status(runner.work_dir).get("validation") if is_main_process() else None
    here = isinstance(done, dict) and done.get("iter") == runner.iter
    return bool(from_main(here))


@HOOKS.register_module()
class StatusHook(Hook):
    """Writes ``status.json``: at the start, after every validation, at the end."""

    priority = "LOWEST"

    def __init__(self):
        self.validation: dict[str, Any] | None = None

    def before_train(self, runner: Runner) -> None:
        former = read_status(runner.work_dir).get("validation")
        of_this_run = isinstance(former, dict) and 0 < former.get("iter", 0) <= runner.iter
        self.validation = former if of_this_run else None
        self._write(runner, "incomplete")

    def after_val_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        if self._trains(runner):
            values = {key: _number(value) for key, value in (metrics or {}).items()}
            self.validation = dict(epoch=runner.epoch, iter=runner.iter, metrics=values)
            self._write(runner, "incomplete")

    def after_train(self, runner: Runner) -> None:
        self._write(runner, "complete")

    def write_stopped(self, runner: Runner, signal: str) -> None:
        """Say that the run saved itself on a signal, until it goes on."""
        self._write(runner, "incomplete", stopped=signal)

    def _trains(self, runner: Runner) -> bool:
        return not isinstance(runner._train_loop, dict) and runner._train_loop is not None

    def _write(self, runner: Runner, status: str, **more: str) -> None:
        if not is_main_process():
            return
        content = dict(
            status=status,
            epoch=runner.epoch,
            iter=runner.iter,
            max_epochs=runner.max_epochs,
            max_iters=runner.max_iters,
            validation=self.validation,
            **more,
        )
        with replacing(Path(runner.work_dir, FILE_NAME)) as temporary:
            temporary.write_text(json.dumps(content, indent=1) + "\n")


def _number(value: Any) -> Any:
    try:
        return float(value)
    except (TypeError, ValueError):
        return str(value)
