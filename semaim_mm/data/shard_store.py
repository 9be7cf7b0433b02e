"""Shards by name, from a folder or through a bounded cache from anything that webdataset opens."""

import fcntl
import hashlib
import importlib
import logging
import os
import tempfile
from pathlib import Path
from types import ModuleType

from mmengine.logging import print_log

from semaim_mm.errors import InputError

READS = 10  # of a shard that other processes keep removing, before that is an error
SHORT = 16  # hexadecimal digits that a folder of the cache is named by


def webdataset() -> ModuleType:
    """-> the library. Raises InputError where it isn't installed."""
    try:
        return importlib.import_module("webdataset")
    except ModuleNotFoundError as error:
        raise InputError(
            "Shards that are written, or fetched from a URL, need webdataset; install it by "
            "pip install '.[shards]'."
        ) from error


class ShardStore:
    """Bytes out of shards. Any number of processes may share a cache, and any number of sets.

    A set's folder in the cache is named by its root, and in it one by the index's content: shards
    that are written anew at the same root are fetched anew.

    Args:
        root: a folder, or what webdataset's gopen takes: 'https://host/folder', or a command with
            {} for the file's name, 'pipe:aws s3 cp s3://bucket/folder/{} -'.
        cache_dir: where fetched shards lie; needed for anything but a folder.
        cache_shards: keep at most so many; None all, so that each is fetched once.
    """

    def __init__(self, root: str, cache_dir: str | None = None, cache_shards: int | None = None):
        self.root, self.cache_shards = str(root), cache_shards
        self.remote = "://" in self.root or self.root.startswith(("pipe:", "file:"))
        if self.remote and cache_dir is None:
            raise InputError(f"Shards at {root} need a cache_dir: a folder on this machine's disk.")
        self.folder = Path(root)
        if self.remote:
            self.folder = Path(cache_dir, hashlib.sha256(self.root.encode()).hexdigest()[:SHORT])
        self.sha256: dict[str, str] = {}  # by shard, where the index tells; checked when fetched

    def open_index(self, name: str) -> Path:
        """-> where the set's index lies; a remote one is fetched, and names the shards' folder."""
        if not self.remote:
            return self.folder / name
        self.folder.mkdir(parents=True, exist_ok=True)
        handle, part = tempfile.mkstemp(suffix=".part", dir=self.folder)  # ranks fetch at once
        os.close(handle)
        try:
            folder = self.folder / self._copy(name, Path(part))[:SHORT]
            others = [path.name for path in self.folder.iterdir() if path.is_dir()]
            folder.mkdir(exist_ok=True)
            os.replace(part, folder / name)
        finally:
            Path(part).unlink(missing_ok=True)
        if others and folder.name not in others:
            print_log(
                f"the shards of this root were written anew since they were cached: they are "
                f"fetched into {folder}; remove the older folders beside it once no run reads them",
                "current",
                logging.WARNING,
            )
        self.folder = folder
        return folder / name

    def path(self, name: str) -> Path:
        """A file's name -> where it lies on this machine, fetched if need be."""
        path = self.folder / name
        if self.remote and not path.exists():
            self._fetch(name, path)
        return path

    def read(self, name: str, offset: int, size: int) -> bytes:
        """-> ``size`` bytes of a shard. Raises InputError where it is missing or too short."""
        content = self._read(name, offset, size)
        if len(content) < size:
            raise InputError(
                f"The shard {self.folder / name} ends before byte {offset + size}, where its index "
                "has an image; remove it and fetch or write it again."
            )
        return content

    def _read(self, name: str, offset: int, size: int) -> bytes:
        for _ in range(READS if self.remote else 1):
            try:
                with self.path(name).open("rb") as shard:
                    shard.seek(offset)
                    return shard.read(size)
            except FileNotFoundError:
                continue  # another process made room just now
        if self.remote:
            raise InputError(
                f"The shard {self.folder / name} was removed {READS} times before it could be "
                f"read, for other processes needed its room; raise cache_shards={self.cache_shards}"
                " above the sampler's open_shards."
            )
        raise InputError(
            f"The shard {self.folder / name} that index.npz lists is missing; copy it there, or "
            "write the shards again."
        )

    def _fetch(self, name: str, path: Path) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f"{name}.part")
        with path.with_name(f"{name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # the other workers wait and find it
            if path.exists():
                return
            found = self._copy(name, part)
            if found != self.sha256.get(name, found):
                part.unlink()
                raise InputError(
                    f"The shard {name} that came from {self.root} is not the one that its index "
                    "lists: it came incomplete, or was written anew since this run began. Start "
                    "the run again; if this stays, write the shards and their index again."
                )
            os.replace(part, path)
        self._make_room(path)

    def _copy(self, name: str, part: Path) -> str:
        """Fetch a file into ``part`` -> its content's SHA-256."""
        url = self.root.replace("{}", name) if "{}" in self.root else f"{self.root}/{name}"
        seen = hashlib.sha256()
        try:
            with webdataset().gopen(url) as source, part.open("wb") as copy:
                while block := source.read(1 << 20):
                    copy.write(block)
                    seen.update(block)
        except OSError as error:
            raise InputError(f"Can't fetch {url} ({error}); check the data set's root.") from error
        if part.stat().st_size == 0:
            raise InputError(f"Nothing came from {url}; check the data set's root.")
        return seen.hexdigest()

    def _make_room(self, newest: Path) -> None:
        if self.cache_shards is None:
            return
        held = [path for path in self.folder.glob("*.tar") if path != newest]
        held.sort(key=lambda path: path.stat().st_mtime)
        for path in held[: max(0, len(held) + 1 - self.cache_shards)]:
            path.unlink(missing_ok=True)
