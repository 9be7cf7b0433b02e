"""Results that are kept between runs by key, on disk, so that an interrupted run loses little.

One SQLite file in ``$XDG_CACHE_HOME/semaim_mm/hashes`` (``~/.cache`` without that variable). A file
that can't be used costs a line on standard error and the time to compute anew.
"""

import os
import sqlite3
import sys
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path


def hashes_folder() -> Path:
    """-> where the files lie; it need not exist."""
    return cache_folder() / "hashes"


def cache_folder() -> Path:
    """-> this package's folder in the user's cache.

    Without a home (no HOME, no entry for the user id) it is a path where nothing can be kept: a
    ``~`` taken literally would be made in the folder that one happens to be in.
    """
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return Path(os.devnull if cache.startswith("~") else cache) / "semaim_mm"


class KeptValues:
    """Bytes by bytes, in a file of the given name; use it in a with statement, from one thread."""

    def __init__(self, name: str):
        self._path = hashes_folder() / f"{name}.sqlite"
        self._base: sqlite3.Connection | None = None

    def __enter__(self) -> "KeptValues":
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._base = sqlite3.connect(self._path, timeout=10)
            with self._base:
                self._base.execute(
                    "CREATE TABLE IF NOT EXISTS kept (key BLOB PRIMARY KEY, value BLOB NOT NULL) "
                    "WITHOUT ROWID"
                )
        except (OSError, sqlite3.Error) as error:
            self._give_up(error)
        return self

    def __exit__(self, *args: object) -> None:
        if self._base is not None:
            self._base.close()

    def get(self, key: bytes) -> bytes | None:
        """-> what was kept under a key, None where nothing was."""
        if self._base is None:
            return None
        try:
            with closing(self._base.execute("SELECT value FROM kept WHERE key = ?", [key])) as rows:
                found = rows.fetchone()
        except sqlite3.Error as error:
            self._give_up(error)
            return None
        return found[0] if found else None

    def put(self, items: Iterable[tuple[bytes, bytes]]) -> None:
        """Keep values, all of them or, where the process dies, none."""
        if self._base is None:
            return
        try:
            with self._base:
                self._base.executemany("INSERT OR REPLACE INTO kept VALUES (?, ?)", items)
        except sqlite3.Error as error:
            self._give_up(error)

    def _give_up(self, error: Exception) -> None:
        if self._base is not None:
            self._base.close()
            self._base = None
        print(f"hashes can't be kept in {self._path} ({error}); going on without", file=sys.stderr)
