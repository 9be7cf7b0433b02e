"""Whether a run can write where it is told to, asked before anything is built."""

import tempfile
from pathlib import Path

from semaim_mm.errors import InputError


def check_work_dir(work_dir: str | Path) -> None:
    """Make a work dir; raise InputError where it can't be made or written to."""
    try:
        Path(work_dir).mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=work_dir):
            return
    except OSError as error:
        raise InputError(
            f"The work dir {work_dir} can't be written to ({error.strerror or error}); choose "
            "another by --work-dir, or mend its rights or its disk."
        ) from error
