"""Writing a checkpoint so that its name only ever stands for a whole file."""

import os
import shutil
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from semaim_mm.errors import InputError
from semaim_mm.interop.digest import DigestWriter


def save_atomically(checkpoint: dict, path: str | Path) -> None:
    """Write to a hidden file beside ``path``, flush it to the disk, rename it onto ``path``.

    The file ends in its own SHA-256 (interop/digest.py). Raises InputError, and leaves whatever
    ``path`` held before, where the disk is full or can't be written.
    """
    path = Path(path)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with part.open("wb") as file:
            writer = DigestWriter(file)
            torch.save(checkpoint, writer)
            writer.finish()
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
        _sync_folder(path.parent)
    except OSError as error:
        raise InputError(
            f"The checkpoint {path} could not be written ({error.strerror or error}): it needs "
            f"{_megabytes(bytes_of(checkpoint))}, and {_free(path.parent)}. The checkpoints before "
            "it are untouched; make room and go on with --resume."
        ) from error
    finally:
        # gone after success; a folder that can't be entered never had it
        with suppress(OSError):
            part.unlink()


def remove_parts(folder: str | Path) -> list[str]:
    """Remove what killed writers of checkpoints left in a folder -> their names."""
    left = sorted(Path(folder).glob(".*.pth.*.part"))
    for part in left:
        part.unlink(missing_ok=True)
    return [part.name for part in left]


def bytes_of(content: Any) -> int:
    """Bytes of all tensors in a nested content, each storage once."""
    sizes = {}
    for tensor in tensors_of(content):
        storage = tensor.untyped_storage()
        sizes[storage.data_ptr()] = storage.nbytes()
    return sum(sizes.values())


def tensors_of(content: Any) -> Iterator[Tensor]:
    """All tensors in nested dicts, lists and tuples."""
    if isinstance(content, Tensor):
        yield content
    elif isinstance(content, dict):
        for value in content.values():
            yield from tensors_of(value)
    elif isinstance(content, (list, tuple)):
        for value in content:
            yield from tensors_of(value)


def _sync_folder(folder: Path) -> None:
    """Flush a rename too; some file systems can't, and have nothing to flush then."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _free(folder: Path) -> str:
    try:
        return f"{_megabytes(shutil.disk_usage(folder).free)} are free on its disk"
    except OSError:
        return "its folder can't be read"


def _megabytes(size: int) -> str:
    return f"about {size / 1e6:.1f} MB"
