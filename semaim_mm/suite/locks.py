"""Who may run what: a whole suite one process, its parts several, a stage one."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from semaim_mm.errors import InputError
from semaim_mm.suite.stages import Stage


@contextmanager
def alone_in(folder: Path, part: bool = False) -> Iterator[None]:
    """Hold the suite's folder; runs of a ``part`` hold it together.

    Raises InputError where another process holds it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as file:
        try:
            fcntl.flock(file, (fcntl.LOCK_SH if part else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        except OSError as error:
            raise InputError(
                f"Another process runs this suite in {folder}; wait for it, or give the suite "
                "another name or out."
            ) from error
        yield


def lock_of(stage: Stage) -> Any:
    """-> the open file that holds a stage as long as it stays open; None if another process does.

    It lies beside the stage's folder, which may be moved aside.
    """
    path = stage.folder.with_name(f".{stage.folder.name}.lock")
    path.parent.mkdir(parents=True, exist_ok=True)
    file = path.open("w")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        file.close()
        return None
    return file
