"""SIGTERM, SIGUSR1, SIGUSR2: save at the next update's end, leave with a code of its own."""

import signal
import threading
from typing import Any

from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import Runner

from semaim_mm.errors import InputError
from semaim_mm.runtime.late import LateValues
from semaim_mm.runtime.reliable.checkpoint_hook import SafeCheckpointHook
from semaim_mm.runtime.reliable.lock import STOPPING, Lock
from semaim_mm.runtime.reliable.ranks import largest, largest_later
from semaim_mm.runtime.reliable.status import StatusHook

EXIT_CODE = 75  # sysexits' "temporary failure": run the same command again


class Stopped(SystemExit):
    """A run that saved itself on a signal; ends the process with EXIT_CODE."""

    def __init__(self, sentence: str):
        super().__init__(EXIT_CODE)
        self.sentence = sentence

    def __str__(self) -> str:
        return self.sentence


@HOOKS.register_module()
class StopSignalHook(Hook):
    """Ends a training on a signal, with a checkpoint; a signal to one rank ends all.

    Args:
        signals: names of those that are heard. In a validation they are heard after each batch.
    """

    priority = "LOWEST"

    def __init__(self, signals: tuple[str, ...] = ("SIGTERM", "SIGUSR1", "SIGUSR2")):
        unknown = [name for name in signals if not hasattr(signal, name)]
        if unknown:
            raise InputError(
                f"StopSignalHook: {', '.join(unknown)} is no signal here; mend the config."
            )
        self.signals, self.heard = signals, 0
        self._former: dict[int, Any] = {}
        self._lock: Lock | None = None
        self._told: list[LateValues] = []

    def before_train(self, runner: Runner) -> None:
        if threading.current_thread() is not threading.main_thread():
            return  # Python hears signals in the main thread alone
        self._lock = getattr(runner, "lock", None)
        for name in self.signals:
            number = getattr(signal, name)
            self._former[number] = signal.signal(number, self._hear)

    def after_train(self, runner: Runner) -> None:
        self.restore()

    def after_train_iter(self, runner: Runner, batch_idx: int, data_batch=None, outputs=None):
        if not runner.optim_wrapper.should_update():
            return
        meta = dict(epoch=runner.epoch, iter=runner.iter + 1)
        if runner.world_size == 1:
            self._stop_if_told(runner, self.heard, meta)
            return
        self._told.append(largest_later(self.heard))
        # on a GPU an update later, so that no rank waits for the others here
        if len(self._told) > self._told[-1].late:
            self._stop_if_told(runner, int(self._told.pop(0).read()), meta)

    def after_val_iter(self, runner: Runner, batch_idx: int, data_batch=None, outputs=None):
        self._stop_in_validation(runner)

    def after_val(self, runner: Runner) -> None:
        self._stop_in_validation(runner)

    def _stop_in_validation(self, runner: Runner) -> None:
        if self._former:
            meta = dict(epoch=runner.epoch, iter=runner.iter)
            self._stop_if_told(runner, largest(self.heard), meta)

    def _hear(self, number: int, frame: object) -> None:
        self.heard = number
        if self._lock is not None:
            self._lock.tell(STOPPING)  # the same command, started at once, waits for the save

    def _stop_if_told(self, runner: Runner, number: int, meta: dict[str, int]) -> None:
        if not number:
            return
        name = signal.Signals(number).name
        savers = [hook for hook in runner.hooks if isinstance(hook, SafeCheckpointHook)]
        for saver in savers[:1]:
            saver.save_stopped(runner, dict(meta))
        sentence = (
            f"stopped by {name} at iteration {meta['iter']}, which is saved; the same command with "
            "--resume auto goes on from there."
        )
        if not savers:
            sentence = (
                f"stopped by {name} at iteration {meta['iter']}; no SafeCheckpointHook saves."
            )
        for hook in runner.hooks:
            if isinstance(hook, StatusHook):
                hook.write_stopped(runner, name)
        runner.logger.warning(sentence)
        self.restore()
        raise Stopped(sentence)

    def restore(self) -> None:
        """Let the signals do what they did before."""
        for number, handler in self._former.items():
            signal.signal(number, handler)
        self._former = {}
