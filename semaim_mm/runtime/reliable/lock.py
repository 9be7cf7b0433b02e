"""One training at a time in a work dir."""

import fcntl
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from mmengine.dist import is_main_process
from mmengine.logging import print_log

from semaim_mm.errors import InputError
from semaim_mm.runtime.reliable.ranks import stop_together

FILE_NAME = ".lock"
STOPPING = ", which is stopping"
PATIENCE = 120.0  # seconds for a run that was told to stop to save itself


class Lock:
    """A held work dir. ``descriptor`` is None on ranks that leave the holding to the first."""

    def __init__(self, descriptor: int | None):
        self.descriptor = descriptor

    def tell(self, more: str = "") -> None:
        """Write who holds it, and what else a run that finds it held should know."""
        if self.descriptor is not None:
            holder = f"process {os.getpid()} on {socket.gethostname()}{more}".encode()
            with suppress(OSError):
                os.ftruncate(self.descriptor, 0)
                os.pwrite(self.descriptor, holder, 0)

    def release(self) -> None:
        """Let go; nothing is left in the file, so that the next run takes over nothing."""
        if self.descriptor is not None:
            with suppress(OSError):
                os.ftruncate(self.descriptor, 0)
            os.close(self.descriptor)
            self.descriptor = None


@contextmanager
def alone_in(work_dir: str | Path) -> Iterator[Lock]:
    """Hold a work dir; raise InputError, on every rank, where another process holds it.

    One that was told to stop is waited for. The kernel drops the lock with the process, however
    that ends: a file left behind by a killed run holds nothing. POSIX locks are taken, for loader
    workers do not inherit them.
    """
    lock = Lock(None)
    with stop_together():
        if is_main_process():
            lock = _take(Path(work_dir))
    try:
        yield lock
    finally:
        lock.release()


def _take(work_dir: Path) -> Lock:
    path = work_dir / FILE_NAME
    try:
        work_dir.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise InputError(
            f"The work dir {work_dir} can't be written ({error.strerror}); choose another by "
            "--work-dir."
        ) from error
    try:
        _wait_for(descriptor, work_dir)
    except InputError:
        os.close(descriptor)
        raise
    except OSError as error:
        print_log(
            f"{path} can't be locked on this file system ({error.strerror}); see that no second "
            "run starts in this work dir."
        )
        return Lock(descriptor)
    former = _holder(descriptor)
    if former:
        print_log(f"{path} was left behind by {former}, but it is gone: the lock is taken over")
    lock = Lock(descriptor)
    lock.tell()
    return lock


def _wait_for(descriptor: int, work_dir: Path) -> None:
    until, told = time.monotonic() + PATIENCE, False
    while True:
        try:
            fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError as error:
            holder = _holder(descriptor)
            if not holder.endswith(STOPPING) or time.monotonic() > until:
                raise InputError(
                    f"Another run works in {work_dir} ({holder}); wait for it, stop it, or choose "
                    "another --work-dir."
                ) from error
            if not told:
                print_log(f"waiting for {holder}, to leave {work_dir}")
            told = True
            time.sleep(0.2)


def _holder(descriptor: int) -> str:
    with suppress(OSError):
        return os.pread(descriptor, 200, 0).decode("utf-8", "replace").strip()
    return "its holder is not known"
