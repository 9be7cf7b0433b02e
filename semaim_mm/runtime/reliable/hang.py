"""A rank that gets no further ends the run with a sentence that names it, on any backend.

Every rank counts its hook calls, which are the same on all ranks, and its watch writes the count
into the work dir: the rank with the smallest one is what the others wait for.
"""

import faulthandler
import json
import os
import sys
import threading
import time
from pathlib import Path
from typing import Any, NamedTuple

from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import Runner
from torch import nn

from semaim_mm.errors import InputError
from semaim_mm.report.result import replacing
from semaim_mm.runtime.reliable.ranks import from_main

EXIT_CODE = 76  # sysexits' "remote error in protocol": another process of the run is lost or stuck
FOLDER = ".beats"
# where a process stands that waits for the others
WAITING = ("/torch/distributed/", "/torch/nn/parallel/", "/torch/autograd/", "/mmengine/dist/")


class Beat(NamedTuple):
    """How far a rank is: hook calls so far, its place in words, its innermost frame."""

    count: int
    place: str
    frame: str = ""
    waits: bool = False


@HOOKS.register_module()
class HangHook(Hook):
    """Ends the process with EXIT_CODE when no hook of a training has been called for long.

    Validations, saves and the loading of data count too. The traces of all threads go to
    ``hang.rankN.txt`` in the work dir.

    Args:
        seconds: without a sign of life after which a run ends; None waits for ever. It has to be
            longer than a validation that calls no hooks in between (held-out losses, features).
    """

    priority = "LOWEST"  # what the other hooks do, e.g. saving, belongs to the step before

    def __init__(self, seconds: float | None = 900):
        if seconds is not None and seconds <= 0:
            raise InputError(
                f"HangHook: seconds={seconds} must be above 0, or None to wait for ever; mend the "
                "config."
            )
        self.seconds = seconds
        self._beat, self._since = Beat(0, "before the first step"), 0.0
        self._over: threading.Event | None = None
        self._forward: Any = None

    def before_train(self, runner: Runner) -> None:
        if self.seconds is None:
            return
        # what an earlier run left there says nothing of this one
        run = from_main(f"{os.getpid()} {time.time()}")
        folder = Path(runner.work_dir, FOLDER)
        folder.mkdir(exist_ok=True)

        # a function and no method: a model may be copied, but not the lock in a hook of it
        def after_forward(model: nn.Module, *_: Any) -> None:
            if model.training:
                self._now(f"{self._step}, after the forward pass")

        self._forward = runner.model.register_forward_hook(after_forward)
        self._step = f"iteration {runner.iter + 1}"
        self._now(f"{self._step}, loading data")
        self._over = threading.Event()
        watch = Watch(self, folder, run, runner.rank, runner.world_size, self._over)
        threading.Thread(target=watch.run, name="hang", daemon=True).start()

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch=None) -> None:
        self._step = f"iteration {runner.iter + 1}"
        self._now(f"{self._step}, before the forward pass")

    def after_train_iter(self, runner: Runner, batch_idx: int, data_batch=None, outputs=None):
        self._step = f"iteration {runner.iter + 2}"
        self._now(f"{self._step}, loading data")

    def before_val_epoch(self, runner: Runner) -> None:
        self._now(f"the validation after iteration {runner.iter}")

    def after_val_iter(self, runner: Runner, batch_idx: int, data_batch=None, outputs=None):
        self._now(f"the validation after iteration {runner.iter}, batch {batch_idx + 2}")

    def after_val_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        self._now(f"the validation after iteration {runner.iter}, its end")

    def after_train(self, runner: Runner) -> None:
        self.restore()

    def restore(self) -> None:
        """Watch no longer; the runner calls it however a training ends."""
        if self._over is not None:
            self._over.set()
            self._forward.remove()
            self._over = None

    def _now(self, place: str) -> None:
        self._beat = Beat(self._beat.count + 1, place)
        self._since = time.monotonic()


class Watch:
    """What a rank's thread does: keep its beat's file, and stop where none comes any more."""

    def __init__(
        self, hook: HangHook, folder: Path, run: str, rank: int, ranks: int, over: threading.Event
    ):
        self.hook, self.folder, self.run_id = hook, folder, run
        self.rank, self.ranks, self.over = rank, ranks, over
        self.main = threading.main_thread().ident

    def run(self) -> None:
        between = min(5.0, self.hook.seconds / 10)
        written = -1
        while not self.over.wait(between):
            beat, silent = self.hook._beat, time.monotonic() - self.hook._since
            if beat.count != written or silent > self.hook.seconds / 2:
                self._write(self._with_frame(beat))
                written = beat.count
            if silent > self.hook.seconds:
                self._stop(silent)

    def _with_frame(self, beat: Beat) -> Beat:
        frame = sys._current_frames().get(self.main)
        if frame is None:
            return beat
        name, line = frame.f_code.co_filename, frame.f_lineno
        told = f"{'/'.join(Path(name).parts[-3:])}:{line} in {frame.f_code.co_name}"
        return beat._replace(frame=told, waits=any(part in name for part in WAITING))

    def _write(self, beat: Beat) -> None:
        try:
            with replacing(self.folder / f"rank{self.rank}.json") as temporary:
                temporary.write_text(json.dumps(dict(run=self.run_id, **beat._asdict())))
        except OSError:
            return  # a full disk stops the run elsewhere, with its sentence

    def _stop(self, silent: float) -> None:
        trace = self.folder.parent / f"hang.rank{self.rank}.txt"
        told = behind(self._beats()) + (
            f" None got further for {silent:.0f} s, so the run ends; the same command with "
            f"--resume auto goes on from its newest checkpoint. {trace} has the traces; "
            "default_hooks.hang.seconds gives it longer."
        )
        try:
            with trace.open("w") as file:
                faulthandler.dump_traceback(file)
        except OSError:
            faulthandler.dump_traceback()
        print(f"error: {told}", file=sys.stderr, flush=True)
        leave(EXIT_CODE)

    def _beats(self) -> dict[int, Beat | None]:
        found: dict[int, Beat | None] = {}
        for rank in range(self.ranks):
            try:
                content = json.loads((self.folder / f"rank{rank}.json").read_text())
                known = content.pop("run") == self.run_id
                found[rank] = Beat(**content) if known else None
            except (OSError, ValueError, TypeError, KeyError):
                found[rank] = None
        return found


def behind(beats: dict[int, Beat | None]) -> str:
    """Every rank's beat, None where it left none -> which ranks the others wait for, and where."""
    silent = [rank for rank, beat in beats.items() if beat is None]
    if silent:
        return f"Of {_ranks(silent)} there is no sign."
    least = min(beat.count for beat in beats.values())
    last = [rank for rank, beat in beats.items() if beat.count == least]
    # of ranks at the same point, those that wait for another are not what is waited for
    stuck = [rank for rank in last if not beats[rank].waits] or last
    place = f"{beats[stuck[0]].place} ({beats[stuck[0]].frame})"
    if len(beats) == 1:
        return f"The run is stuck at {place}."
    if len(stuck) == len(beats):
        return f"All {len(beats)} ranks are stuck at {place}."
    other = max((beat for rank, beat in beats.items() if rank not in stuck), key=lambda b: b.count)
    return (
        f"{_ranks(stuck).capitalize()} of {len(beats)} is stuck at {place}, while others wait at "
        f"{other.place}."
    )


def _ranks(numbers: list[int]) -> str:
    return ("rank " if len(numbers) == 1 else "ranks ") + ", ".join(map(str, numbers))


def leave(code: int) -> None:
    """End the process now: what its main thread waits for may never come."""
    os._exit(code)
