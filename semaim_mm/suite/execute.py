"""Running a suite's stages here, one after another; what failed leaves the others running."""

import fcntl
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from semaim_mm.errors import InputError
from semaim_mm.interop.checkpoint_file import sha256_of
from semaim_mm.suite.stages import Stage, command_of, output_of, shell_line
from semaim_mm.suite.state import clear_if_stale, is_finished, key_of, write_state


class Outcome(NamedTuple):
    """How a stage ended: 'finished before', 'complete', 'failed' or 'waits' for a failed one."""

    stage: Stage
    status: str
    seconds: float = 0.0
    log: Path | None = None


def run_stages(
    stages: Sequence[Stage], folder: Path, say: Callable[[str], None] = print
) -> list[Outcome]:
    """Run what is missing -> how every stage ended.

    A stage's own output goes to ``log.txt`` in its folder. Killed at any point and started again,
    finished stages are passed over and an unfinished training resumes.

    Raises:
        InputError: another process runs the suite in this folder.
    """
    outcomes: dict[str, Outcome] = {}
    with alone_in(folder):
        for number, stage in enumerate(stages, start=1):
            head = f"[{number}/{len(stages)}] {stage.name}"
            source = outcomes.get(stage.needs) if stage.needs else None
            if source is not None and source.status in ("failed", "waits"):
                outcome = Outcome(stage, "waits")
                say(f"{head}: left out, {stage.needs} failed")
            else:
                outcome = run_stage(stage, input_of(stage, stages), head, say)
            outcomes[stage.name] = outcome
    return list(outcomes.values())


def input_of(stage: Stage, stages: Sequence[Stage]) -> str | None:
    """-> the checkpoint that a stage starts from: that of the stage it needs, or the given one."""
    if stage.needs is None:
        return stage.checkpoint
    return str(output_of(next(other for other in stages if other.name == stage.needs)))


def run_stage(
    stage: Stage, checkpoint: str | None, head: str, say: Callable[[str], None]
) -> Outcome:
    """Run one stage unless its record says that it is finished."""
    key = key_of(stage, checkpoint)
    if is_finished(stage, key):
        say(f"{head}: finished before")
        return Outcome(stage, "finished before")
    aside = clear_if_stale(stage, key)
    if aside is not None:
        say(f"{head}: config, weights or data have changed; the former run is in {aside}")
    command, log = command_of(stage, checkpoint), stage.folder / "log.txt"
    record = dict(key=key, command=shell_line(command), log=str(log))
    write_state(stage, status="running", **record)
    say(f"{head}: running, log in {log}")
    start = time.monotonic()
    code = run_logged(command, log)
    seconds = round(time.monotonic() - start, 1)
    output = output_of(stage)
    if code != 0 or not output.is_file():
        write_state(stage, status="failed", returncode=code, seconds=seconds, **record)
        say(f"{head}: FAILED with code {code} after {seconds:.0f} s: {last_line(log)} ({log})")
        return Outcome(stage, "failed", seconds, log)
    write_state(
        stage,
        status="complete",
        output=str(output),
        output_sha256=sha256_of(output),
        seconds=seconds,
        **record,
    )
    say(f"{head}: done in {seconds:.0f} s")
    return Outcome(stage, "complete", seconds, log)


def run_logged(command: Sequence[str], log: Path) -> int:
    """Run a command, its output appended to ``log`` -> its exit code; it dies with this process."""
    with log.open("ab") as file:
        child = subprocess.Popen(
            command, stdout=file, stderr=subprocess.STDOUT, start_new_session=True
        )
        with _passing_on_signals(child):
            return child.wait()


@contextmanager
def _passing_on_signals(child: subprocess.Popen) -> Iterator[None]:
    def stop(number: int, frame: object) -> None:
        os.killpg(child.pid, signal.SIGTERM)
        raise KeyboardInterrupt

    former = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)


@contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Hold the suite's folder; raise InputError where another process holds it."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise InputError(
                f"Another process runs this suite in {folder}; wait for it, or give the suite "
                "another name or out."
            ) from error
        yield


def last_line(log: Path) -> str:
    """The last line of a log that says something, for a person to start from."""
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines()]
    return next((line for line in reversed(lines) if line), "no output")[:300]
