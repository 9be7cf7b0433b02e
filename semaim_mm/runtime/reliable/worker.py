"""A loader's workers while a run is told to stop: they go on until it has saved itself."""

import os
import signal
import threading
from collections.abc import Callable

from torch.utils.data import DataLoader


def outlive_stop_signals(loader: DataLoader) -> DataLoader:
    """A loader -> itself; its workers end on their run's SIGTERM alone, not on anybody else's.

    Slurm, a container's end and ``kill -- -GROUP`` signal every process. Workers that died of it
    would end the training in the middle of a step, before it could save itself.
    """
    if loader.num_workers and hasattr(signal, "sigwaitinfo"):  # macOS has none
        loader.worker_init_fn = _Start(loader.worker_init_fn)
    return loader


class _Start:
    """What a worker does first; ``then`` is the loader's own function, or None."""

    def __init__(self, then: Callable[[int], None] | None):
        self.then = then

    def __call__(self, worker: int) -> None:
        # blocked here and in all later threads, so that one thread gets it with its sender
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
        threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()
        for name in ("SIGUSR1", "SIGUSR2"):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
        if self.then is not None:
            self.then(worker)


def _end_with(parent: int) -> None:
    while signal.sigwaitinfo([signal.SIGTERM]).si_pid != parent:
        pass
    os._exit(0)
