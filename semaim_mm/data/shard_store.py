"""Shards by name, from a folder or through a bounded cache from anything that webdataset opens."""

import fcntl
import importlib
import os
import shutil
from pathlib import Path
from types import ModuleType

from semaim_mm.errors import InputError


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
    """Bytes out of shards. Any number of processes may share a cache.

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
        self.folder = Path(cache_dir if self.remote else root)

    def path(self, name: str) -> Path:
        """A file's name -> where it lies on this machine, fetched if need be."""
        path = self.folder / name
        if self.remote and not path.exists():
            self._fetch(name, path)
        return path

    def read(self, name: str, offset: int, size: int) -> bytes:
        """-> ``size`` bytes of a shard. Raises InputError where it is missing or too short."""
        try:
            content = self._read(name, offset, size)
        except FileNotFoundError:
            if not self.remote:
                raise InputError(
                    f"The shard {self.folder / name} that index.npz lists is missing; copy it "
                    "there, or write the shards again."
                ) from None
            content = self._read(name, offset, size)  # another process made room just now
        if len(content) < size:
            raise InputError(
                f"The shard {self.folder / name} ends before byte {offset + size}, where its index "
                "has an image; remove it and fetch or write it again."
            )
        return content

    def _read(self, name: str, offset: int, size: int) -> bytes:
        with self.path(name).open("rb") as shard:
            shard.seek(offset)
            return shard.read(size)

    def _fetch(self, name: str, path: Path) -> None:
        url = self.root.replace("{}", name) if "{}" in self.root else f"{self.root}/{name}"
        self.folder.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f"{name}.part")
        with path.with_name(f"{name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # the other workers wait and find it
            if path.exists():
                return
            try:
                with webdataset().gopen(url) as source, part.open("wb") as copy:
                    shutil.copyfileobj(source, copy, 1 << 20)
            except OSError as error:
                raise InputError(
                    f"Can't fetch {url} ({error}); check the data set's root."
                ) from error
            if part.stat().st_size == 0:
                raise InputError(f"Nothing came from {url}; check the data set's root.")
            os.replace(part, path)
        self._make_room(path)

    def _make_room(self, newest: Path) -> None:
        if self.cache_shards is None:
            return
        held = [path for path in self.folder.glob("*.tar") if path != newest]
        held.sort(key=lambda path: path.stat().st_mtime)
        for path in held[: max(0, len(held) + 1 - self.cache_shards)]:
            path.unlink(missing_ok=True)
