"""The whole graph's progress on a terminal: a bar for the suite, a line for each running stage."""

import json
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bars

from semaim_mm.suite.execute import Outcome, Progress, Running


class LiveProgress(Progress, AbstractContextManager):
    """Lines as in a plain log, and below them bars that move."""

    def __init__(self, console: Console, stages: int):
        super().__init__(lambda line: self._bars.console.print(line, markup=False))
        self._bars = Bars(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[what]}", markup=False),
            TimeElapsedColumn(),
            console=console,
        )
        self._all = self._bars.add_task("suite", total=stages, what="stages")
        self._lines: dict[str, TaskID] = {}
        self._looked = 0.0

    def __enter__(self) -> "LiveProgress":
        self._bars.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._bars.stop()

    def started(self, running: Running, head: str) -> None:
        super().started(running, head)
        self._lines[running.stage.name] = self._bars.add_task(
            running.stage.name, total=None, what="steps"
        )

    def ended(self, outcome: Outcome, head: str, told: str) -> None:
        super().ended(outcome, head, told)
        line = self._lines.pop(outcome.stage.name, None)
        if line is not None:
            self._bars.remove_task(line)
        self._bars.advance(self._all)

    def look(self, running: Sequence[Running]) -> None:
        if time.monotonic() - self._looked < 2:
            return
        self._looked = time.monotonic()
        for stage in (item.stage for item in running):
            done = steps_done(stage.folder)
            if done is not None:
                self._bars.update(self._lines[stage.name], completed=done)


def steps_done(folder: Path) -> int | None:
    """A stage's folder -> the step that its newest scalar log reached, None before the first."""
    logs = sorted(folder.glob("*/vis_data/scalars.json"))
    if not logs:
        return None
    lines = logs[-1].read_text(errors="replace").splitlines()
    for line in reversed(lines):
        try:
            step = json.loads(line).get("step")
        except ValueError:  # half a line: it is being written
            continue
        if isinstance(step, int):
            return step
    return None
