"""Running a suite's stages: each as soon as its input is there; a failed one stops no other.

One that saved itself on a signal is interrupted, not failed: the next run resumes it.
"""

import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from semaim_mm.interop.checkpoint_file import sha256_of
from semaim_mm.runtime.reliable.status import FILE_NAME as STATUS_FILE
from semaim_mm.runtime.reliable.status import read_status
from semaim_mm.runtime.reliable.stop import EXIT_CODE as STOPPED
from semaim_mm.runtime.secrets import line_without_secrets
from semaim_mm.suite.local import LocalJobs
from semaim_mm.suite.locks import lock_of
from semaim_mm.suite.slurm import check_gone, starter_of
from semaim_mm.suite.stages import Stage, command_of, output_of, settle, shell_line
from semaim_mm.suite.state import (
    LOG,
    clear_if_stale,
    is_finished,
    key_of,
    read_state,
    sentence_of,
    write_down,
    write_state,
)

DONE = ("complete", "finished before")
# a process that had not begun to train, or only tests, ends by the signal itself
INTERRUPTED = (STOPPED, *(-number for number in (signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)))


class Outcome(NamedTuple):
    """How a stage ended: 'finished before', 'complete', 'failed', 'interrupted' (a signal stopped
    it, its state saved), or 'waits' for one of the last two.
    """

    stage: Stage
    status: str
    seconds: float = 0.0
    log: Path | None = None


class Running(NamedTuple):
    """A stage under way: its job, what its record says, and since when (monotonic seconds)."""

    stage: Stage
    job: Any
    record: dict[str, Any]
    since: float
    lock: Any = None
    spent: float = 0.0  # seconds of this very training in earlier sittings

    @property
    def seconds(self) -> float:
        """Those that its process has run, earlier sittings of a training included."""
        return round(self.spent + time.monotonic() - self.since, 1)


class Progress:
    """Hears what happens to the stages; this one prints a line each time."""

    def __init__(self, say: Callable[[str], None] = print):
        self.say = say

    def started(self, running: Running, head: str) -> None:
        self.say(f"{head}: running, log in {running.record['log']}")

    def ended(self, outcome: Outcome, head: str, told: str) -> None:
        self.say(f"{head}: {told}")

    def aside(self, folder: Path, head: str) -> None:
        self.say(f"{head}: config, weights or data have changed; the former run is in {folder}")

    def look(self, running: Sequence[Running]) -> None:
        """Called again and again while stages run."""


class SuiteRun:
    """Runs a plan's stages by ``jobs`` (local processes, Slurm), telling ``progress``.

    ``heard`` is called with every stage's outcome as it ends.
    """

    def __init__(
        self,
        stages: Sequence[Stage],
        jobs: Any = None,
        progress: Progress | None = None,
        heard: Callable[[Outcome], None] = lambda outcome: None,
    ):
        self.stages, self.heard = list(stages), heard
        self.jobs = jobs or LocalJobs()
        self.progress = progress or Progress()
        self.outcomes: dict[str, Outcome] = {}
        self.running: list[Running] = []

    def run(self) -> list[Outcome]:
        """Run what is missing -> how every stage ended, in the plan's order.

        A stage's own output goes to ``log.txt`` in its folder. Killed at any point and started
        again, finished stages are passed over and an unfinished training resumes.
        """
        with self._stopping_on_signals():
            while len(self.outcomes) < len(self.stages):
                self._begin_what_can_begin()
                self._end_what_has_ended()
                if self.running:
                    self.progress.look(self.running)
                    time.sleep(self.jobs.seconds_between_looks)
        return [self.outcomes[stage.name] for stage in self.stages]

    def _begin_what_can_begin(self) -> None:
        under_way = {running.stage.name for running in self.running}
        for stage in self.stages:
            if len(self.running) >= self.jobs.places:
                return
            if stage.name in self.outcomes or stage.name in under_way:
                continue
            before = [self.outcomes.get(name) for name in stage.after]
            if None in before:
                continue
            lacking = [outcome for outcome in before if outcome.status not in DONE]
            if lacking:
                why = "was interrupted" if lacking[0].status == "interrupted" else "failed"
                self._end(Outcome(stage, "waits"), f"left out, {lacking[0].stage.name} {why}")
                continue
            try:
                self._begin(settle(stage, self.stages))
            except Exception as error:  # one that can't start, for whatever, stops no other
                log = write_down(stage, error)
                self._end(
                    Outcome(stage, "failed", log=log), f"FAILED: {sentence_of(error)} ({log})"
                )

    def _begin(self, stage: Stage) -> None:
        """Start a stage unless its record says that it is finished."""
        checkpoint = input_of(stage, self.stages)
        key, head = key_of(stage, self.stages), self._head(stage)
        if is_finished(stage, key, self.stages):
            self._end(Outcome(stage, "finished before"), "finished before")
            return
        lock = lock_of(stage)
        if lock is None:
            self._end(Outcome(stage, "waits"), "left out, another process runs it")
            return
        former = read_state(stage) or {}
        number = former.get("job") if former.get("status") == "running" else None
        if number is not None and self.jobs.launcher != "slurm":  # numbers are Slurm's alone
            check_gone(number, stage.folder)
            number = None
        if number is not None and former.get("key") != key:
            self.jobs.cancel(number)
            number = None
        resumes = stage.kind != "test" and former.get("key") == key
        spent = (former.get("seconds") or 0.0) if resumes else 0.0
        aside = clear_if_stale(stage, key)
        if aside is not None:
            spent = 0.0
            self.progress.aside(aside, head)
        command = command_of(stage, checkpoint, self.jobs.launcher)
        log = stage.folder / LOG
        starter = starter_of(stage) if self.jobs.launcher == "slurm" else []
        line = line_without_secrets(shell_line([*starter, *command]))
        record = dict(key=key, command=line, log=str(log))
        taken_up = {} if number is None else dict(job=number)
        # a start that fails, or a killed runner, must not lose them
        sat = dict(seconds=spent) if spent else {}
        write_state(stage, status="running", **record, **taken_up, **sat)
        job = self.jobs.start(stage, command, log, number)
        if job.number is not None:
            record["job"] = job.number
            write_state(stage, status="running", **record, **sat)
        self.running.append(Running(stage, job, record, time.monotonic(), lock, spent))
        self.progress.started(self.running[-1], head)

    def _end_what_has_ended(self) -> None:
        for running in list(self.running):
            code = running.job.code()
            if code is None:
                continue
            self.running.remove(running)
            stage, log, seconds = running.stage, Path(running.record["log"]), running.seconds
            output = output_of(stage)
            if _was_stopped(running, code):
                write_state(
                    stage, status="interrupted", returncode=code, seconds=seconds, **running.record
                )
                told = f"interrupted by a signal after {seconds:.0f} s: run the suite again"
                self._end(Outcome(stage, "interrupted", seconds, log), told)
                continue
            if code != 0 or not output.is_file() or not _trained_to_its_end(stage):
                write_state(
                    stage, status="failed", returncode=code, seconds=seconds, **running.record
                )
                told = f"FAILED with code {code} after {seconds:.0f} s: {last_line(log)} ({log})"
                self._end(Outcome(stage, "failed", seconds, log), told)
                continue
            write_state(
                stage,
                status="complete",
                output=str(output),
                output_sha256=sha256_of(output),
                seconds=seconds,
                **running.record,
            )
            self._end(Outcome(stage, "complete", seconds, log), f"done in {seconds:.0f} s")

    def _end(self, outcome: Outcome, told: str) -> None:
        self.outcomes[outcome.stage.name] = outcome
        self.heard(outcome)
        self.progress.ended(outcome, self._head(outcome.stage), told)

    def _head(self, stage: Stage) -> str:
        number = next(n for n, s in enumerate(self.stages, 1) if s.name == stage.name)
        return f"[{number}/{len(self.stages)}] {stage.name}"

    @contextmanager
    def _stopping_on_signals(self) -> Iterator[None]:
        def stop(number: int, frame: object) -> None:
            raise KeyboardInterrupt

        former = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            yield
        finally:
            for number, handler in former.items():
                signal.signal(number, handler)
            if not self.jobs.outlive_the_runner:
                for running in self.running:
                    running.job.stop()
                    write_state(
                        running.stage,
                        status="interrupted",
                        seconds=running.seconds,
                        **running.record,
                    )


def _was_stopped(running: Running, code: int) -> bool:
    """Whether a signal ended a stage with nothing lost; of several ranks, torchrun tells 1."""
    if code in INTERRUPTED:
        return True
    status = running.stage.folder / STATUS_FILE
    begun = time.time() - (time.monotonic() - running.since)
    if code != 1 or not status.is_file() or status.stat().st_mtime < begun:
        return False
    return "stopped" in read_status(running.stage.folder)


def _trained_to_its_end(stage: Stage) -> bool:
    """Whether a training's status.json says so; one that wrote none is believed."""
    return stage.kind == "test" or read_status(stage.folder).get("status") != "incomplete"


def exit_code(outcomes: Sequence[Outcome]) -> int:
    """-> a suite's exit code: 0, 1 where a stage failed, else that of a stopped training."""
    states = {outcome.status for outcome in outcomes}
    if "failed" in states:
        return 1
    return STOPPED if states - set(DONE) else 0


def input_of(stage: Stage, stages: Sequence[Stage]) -> str | None:
    """-> the checkpoint that a stage starts from: that of the stage it needs, or the given one."""
    if stage.needs is None:
        return stage.checkpoint
    return str(output_of(next(other for other in stages if other.name == stage.needs)))


def last_line(log: Path) -> str:
    """The last line of a log that says something, for a person to start from."""
    if not log.is_file():
        return "no log"
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines()]
    return next((line for line in reversed(lines) if line), "no output")[:300]
