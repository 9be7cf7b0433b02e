"""What a scan of a data set found, kept so that the next run with the same files need not scan.

One JSON file a scan in ``$XDG_CACHE_HOME/semaim_mm/scans`` (``~/.cache`` without that variable),
named by a SHA-256 of all that the scan depends on. In a distributed run the first rank scans and
the others get what it found.
"""

import json
import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mmengine.dist import broadcast_object_list, is_main_process
from mmengine.logging import print_log
from torch.utils.data import get_worker_info

from semaim_mm.data.prepare.kept import cache_folder
from semaim_mm.errors import InputError
from semaim_mm.report.result import canonical, replacing, sha256_text


def scans_folder() -> Path:
    """-> where scans are kept; it need not exist."""
    return cache_folder() / "scans"


def file_state(path: str | Path) -> tuple[str, int, int]:
    """-> (absolute path, size in bytes, time of change in ns); another file has another state."""
    stat = os.stat(path)
    return os.path.abspath(path), stat.st_size, stat.st_mtime_ns


def cached_scan(subject: dict, scan: Callable[[], dict]) -> dict:
    """The kept result of a scan of ``subject``, or else ``scan()``'s, kept for the next time.

    Args:
        subject: all that the result depends on, as plain values: the scan's name and version, the
            files' states, the expected classes.
        scan: -> a dict of plain values, equal after a round trip through JSON.

    A kept file that can't be read or was made of another subject is passed over; a folder that
    can't be written costs a line in the log.
    """
    key = sha256_text(canonical(subject))
    path = scans_folder() / f"{key}.json"
    found = _read(path, key)
    if found is None:
        found = scan()
        _write(path, dict(subject=key, found=found))
    return found


def on_first_rank(work: Callable[[], Any]) -> Any:
    """Do ``work`` on the first rank only -> its result, or its error, on every rank.

    Every rank must call it. A data loader's worker process does the work by itself, since the
    ranks' process group is not its to use.

    Raises:
        InputError: where the work raised one, on all ranks alike.
        RuntimeError: on the other ranks, where the work failed in any other way.
    """
    if get_worker_info() is not None:
        return work()
    told: list = [None]
    if is_main_process():
        try:
            told[0] = ("result", work())
        except InputError as error:
            told[0] = ("input", str(error))
        except Exception as error:
            # the other ranks wait for word, whatever went wrong
            broadcast_object_list([("failure", f"{type(error).__name__}: {error}")])
            raise
    broadcast_object_list(told)
    kind, value = told[0]
    if kind == "input":
        raise InputError(value)
    if kind == "failure":
        raise RuntimeError(f"the first rank failed: {value}")
    return value


def _read(path: Path, key: str) -> dict | None:
    try:
        content = json.loads(path.read_text())
    except (OSError, ValueError):
        return None
    if not isinstance(content, dict) or content.get("subject") != key:
        return None
    found = content.get("found")
    return found if isinstance(found, dict) else None


def _write(path: Path, content: dict) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as temporary:
            temporary.write_text(json.dumps(content))
    except OSError as error:
        print_log(
            f"the scan could not be kept in {path.parent} ({error}); the next run scans again",
            logger="current",
            level=logging.WARNING,
        )
