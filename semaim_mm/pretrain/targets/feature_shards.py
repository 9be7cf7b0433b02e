"""Shards of a teacher's features on disk, checked as they are read and not before.

The index has the SHA-256 of a shard's marks and checksums, which are read when a shard is first
opened; they have the CRC-32 of every image's tokens, which are read one at a time. So a start costs
as little for a terabyte as for a megabyte, and no changed number is used. The mean of all images'
tokens lies in a file of its own, whose SHA-256 the index has too.
Legend: N images of a shard, L patches, D the teacher's token width.
"""

import hashlib
import json
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load, save_file
from torch import Tensor

from semaim_mm.errors import InputError
from semaim_mm.interop.checkpoint_file import sha256_of
from semaim_mm.report.result import replacing

INDEX, MEAN = "index.json", "mean.safetensors"
ANEW = "write the cache anew by tools/cache_teacher.py."


def read_index(folder: Path) -> dict[str, Any]:
    """A folder -> the index of the features in it. Raises InputError where there is none."""
    path = folder / INDEX
    if not path.is_file():
        raise InputError(
            f"There are no cached features at {folder} (no {INDEX}); write them by "
            "tools/cache_teacher.py CONFIG, or set target_generator.folder."
        )
    try:
        return json.loads(path.read_text())
    except ValueError as error:
        raise InputError(f"{path} is no JSON ({error}); {ANEW}") from error


def write_shard(path: Path, tokens: Tensor, marks: Tensor) -> dict[str, Any]:
    """(N, 1 + L, D) tokens, (N, ...) what tells the images apart -> the shard's entry in the index.

    Both on the CPU; a shard that was cut off while it was written is none.
    """
    sums = checksums(tokens)
    with replacing(path) as temporary:
        save_file(dict(tokens=tokens, marks=marks, sums=sums), temporary)
    return dict(
        file=path.name,
        bytes=path.stat().st_size,
        sha256=sha256_of(path),
        rows_sha256=rows_digest(marks, sums),
    )


def write_mean(folder: Path, total: Tensor, count: int) -> dict[str, Any]:
    """(1 + L, D) float64, the sum over ``count`` images -> the entry of their mean in the index."""
    path = folder / MEAN
    with replacing(path) as temporary:
        save_file(dict(mean=(total / count).float()), temporary)
    return dict(file=path.name, bytes=path.stat().st_size, sha256=sha256_of(path))


def checksums(tokens: Tensor) -> Tensor:
    """(N, 1 + L, D) on the CPU -> (N,) int64: CRC-32 of every image's bytes."""
    rows = (row.contiguous().view(torch.uint8).numpy() for row in tokens)
    return torch.tensor([zlib.crc32(row) for row in rows])


def rows_digest(marks: Tensor, sums: Tensor) -> str:
    """-> SHA-256 of what a shard holds beside its tokens."""
    return hashlib.sha256(marks.numpy().tobytes() + sums.numpy().tobytes()).hexdigest()


class Opened(NamedTuple):
    """A shard's file, its marks (N, ...), its checksums (N,) or None where it was written without.

    Without checksums the whole file was hashed when it was opened.
    """

    file: Any
    marks: Tensor
    sums: Tensor | None


class FeatureShards:
    """The features of ``index`` in ``folder``, by sample id.

    Raises:
        InputError: a shard that is missing, of another size than when it was written, or in which
            something changed since: at once, when it is first opened, when an image is read.
    """

    def __init__(self, folder: Path, index: Mapping[str, Any]):
        self.folder, self.index = folder, index
        self._opened: dict[int, Opened] = {}
        self._mean: Tensor | None = None
        for entry in self._files():
            path = folder / entry["file"]
            if not path.is_file() or path.stat().st_size != entry.get("bytes", path.stat().st_size):
                raise self._changed(path, "its size")

    def rows(self, ids: Sequence[int]) -> tuple[Tensor, Tensor]:
        """B sample ids -> (B, 1 + L, D) tokens as they were kept, (B, ...) marks."""
        places = [divmod(int(number), self.index["shard_size"]) for number in ids]
        tokens = torch.stack([self._tokens(*place) for place in places])
        return tokens, torch.stack([self._open(shard).marks[row] for shard, row in places])

    def mean(self) -> Tensor:
        """-> (1 + L, D) float32: the mean tokens of all images, which is remembered.

        Caches of before it was written tell it by every shard, each of which is read once.
        """
        if self._mean is None:
            self._mean = self._kept_mean() if self.index.get("mean") else self._mean_of_shards()
        return self._mean

    def _kept_mean(self) -> Tensor:
        path = self.folder / self.index["mean"]["file"]
        try:
            content = path.read_bytes()
        except OSError as error:
            raise self._changed(path, f"it can't be read, {error}, so its SHA-256") from error
        if hashlib.sha256(content).hexdigest() != self.index["mean"]["sha256"]:
            raise self._changed(path, "its SHA-256")
        return load(content)["mean"]

    def _mean_of_shards(self) -> Tensor:
        total = 0
        for number in range(len(self.index["shards"])):
            opened = self._open(number)
            tokens = opened.file.get_tensor("tokens")
            if opened.sums is not None and not torch.equal(checksums(tokens), opened.sums):
                raise self._changed(self._path(number), "an image's checksum")
            total = total + tokens.sum(dim=0, dtype=torch.float64)
        return (total / self.index["count"]).float()

    def verify(self) -> None:
        """Hash every file: for features that were copied, or a disk that is doubted."""
        for entry in self._files():
            if sha256_of(self.folder / entry["file"]) != entry["sha256"]:
                raise self._changed(self.folder / entry["file"], "its SHA-256")

    def _files(self) -> list[Mapping[str, Any]]:
        mean = self.index.get("mean")  # caches of before it was written have none
        return [*self.index["shards"], *([mean] if mean else [])]

    def _tokens(self, number: int, row: int) -> Tensor:
        file, _, sums = self._open(number)
        found = file.get_slice("tokens")[row]
        if sums is not None and not torch.equal(checksums(found[None])[0], sums[row]):
            raise self._changed(self._path(number), "an image's checksum")
        return found

    def _open(self, number: int) -> Opened:
        if number not in self._opened:
            self._opened[number] = self._checked(number)
        return self._opened[number]

    def _checked(self, number: int) -> Opened:
        shard, path = self.index["shards"][number], self._path(number)
        has_sums = "rows_sha256" in shard  # caches of before these were written are hashed whole
        if not has_sums and sha256_of(path) != shard["sha256"]:
            raise self._changed(path, "its SHA-256")
        try:
            file = safe_open(path, framework="pt")
            marks = file.get_tensor("marks")
            sums = file.get_tensor("sums") if has_sums else None
        except (SafetensorError, OSError) as error:
            raise self._changed(path, f"it can't be read, {error}, so its header") from error
        if sums is not None and rows_digest(marks, sums) != shard["rows_sha256"]:
            raise self._changed(path, "the SHA-256 of its checksums")
        return Opened(file, marks, sums)

    def _path(self, number: int) -> Path:
        return self.folder / self.index["shards"][number]["file"]

    def _changed(self, path: Path, what: str) -> InputError:
        return InputError(
            f"{path} is missing or not what was written ({what} differs from {INDEX}'s); {ANEW}"
        )

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | dict(_opened={})  # open files are opened again
