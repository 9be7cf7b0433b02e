"""Stages as processes of this machine, so many at a time; they die with the runner."""

import ctypes
import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from semaim_mm.errors import InputError
from semaim_mm.suite.stages import Stage


class LocalJob:
    """A process and the place that it holds."""

    number = None  # a process of one's own is never taken up again

    def __init__(self, child: subprocess.Popen, place: int):
        self.child, self.place = child, place

    def code(self) -> int | None:
        """-> the exit code, None while it runs."""
        return self.child.poll()

    def stop(self) -> None:
        """End the process and all that it started."""
        if self.child.poll() is None:
            os.killpg(self.child.pid, signal.SIGTERM)
            try:
                self.child.wait(20)
            except subprocess.TimeoutExpired:
                os.killpg(self.child.pid, signal.SIGKILL)
                self.child.wait()


class LocalJobs:
    """Runs up to ``places`` stages at once, each with its share of the cores or its own GPUs."""

    outlive_the_runner = False
    launcher = "torchrun"
    seconds_between_looks = 0.2

    def __init__(self, places: int = 1):
        self.places = places
        self._running: list[LocalJob] = []

    def start(
        self, stage: Stage, command: Sequence[str], log: Path, number: str | None = None
    ) -> LocalJob:
        """Start a stage's command, its output appended to ``log``."""
        self._running = [job for job in self._running if job.code() is None]
        taken = {job.place for job in self._running}
        place = next(place for place in range(self.places + len(taken)) if place not in taken)
        with log.open("ab") as file:
            child = subprocess.Popen(
                command,
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=die_with_parent,
                env=surroundings(place, self.places, stage.gpus),
            )
        job = LocalJob(child, place)
        self._running.append(job)
        return job


def die_with_parent() -> None:
    """In a child: get SIGTERM when the runner ends, be it by SIGKILL (Linux; nothing elsewhere)."""
    set_death_signal = 1
    try:
        ctypes.CDLL(None).prctl(set_death_signal, signal.SIGTERM)
    except (OSError, AttributeError):
        return


def surroundings(place: int, places: int, gpus: int) -> Mapping[str, str]:
    """The environment of the stage at a place: its threads, its GPUs, its port."""
    found = dict(os.environ)
    if places > 1:
        # threads of two processes on the same cores wait for each other
        found.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // places)))
        found["PORT"] = str(_first_port(found) + place)  # two torchruns can't meet at one
    if places > 1 and gpus:
        visible = found.get("CUDA_VISIBLE_DEVICES")
        names = visible.split(",") if visible else [str(n) for n in range(places * gpus)]
        if len(names) < places * gpus:
            raise InputError(
                f"{places} stages at a time with {gpus} GPUs each need {places * gpus}, but "
                f"CUDA_VISIBLE_DEVICES={visible} names {len(names)}; lower --workers."
            )
        found["CUDA_VISIBLE_DEVICES"] = ",".join(names[place * gpus : (place + 1) * gpus])
    return found


def _first_port(surroundings: Mapping[str, str]) -> int:
    """-> the port of place 0: the exported one, else that of tools/dist_train.sh."""
    given = surroundings.get("PORT") or "29500"
    if not given.isdecimal():
        raise InputError(
            f"PORT={given} is no whole number, so no stage can be told a port of its own; export "
            "the number of a free one, or unset it."
        )
    return int(given)
