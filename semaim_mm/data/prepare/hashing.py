"""SHA-256 of many files: in parallel, with what was hashed before taken from the cache."""

import hashlib
import os
import struct
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from semaim_mm.data.prepare.findings import named, printable
from semaim_mm.data.prepare.kept import KeptValues
from semaim_mm.data.prepare.listing import State
from semaim_mm.data.prepare.progress import counting
from semaim_mm.errors import InputError
from semaim_mm.interop.checkpoint_file import sha256_of

CHUNK = 1024  # files: what an interruption may cost
SETTLED_NS = 2_000_000_000  # a file that changed later may change again unseen
VALUE = struct.Struct("<qq32s")  # size, time of change, SHA-256


def hash_files(root: Path, files: Mapping[str, State], cached: bool = True) -> dict[str, str]:
    """Files by path below ``root`` -> their SHA-256 in hex, in order of the paths.

    Args:
        cached: take the hash of a file of the same path, size and time of change from the cache.
            Without it every byte is read.

    Raises:
        InputError: a file can't be read, or changed while it was.
    """
    name = "files-" + hashlib.sha256(os.fsencode(os.path.realpath(root))).hexdigest()[:32]
    hashes: dict[str, str] = {}
    unreadable: list[str] = []
    with (
        KeptValues(name) as kept,
        ThreadPoolExecutor(workers()) as threads,
        counting("hashing files", len(files)) as advance,
    ):
        for chunk in chunks(sorted(files), CHUNK):
            known = {path: _kept_hash(kept, path, files[path]) for path in chunk if cached}
            missing = [path for path in chunk if known.get(path) is None]
            made = threads.map(lambda path: _hash(root / path, files[path]), missing)
            found = dict(zip(missing, made, strict=True))
            unreadable += [path for path, digest in found.items() if digest is None]
            found = {path: digest for path, digest in found.items() if digest is not None}
            kept.put(_values(found, files))
            hashes |= {path: known.get(path) or found.get(path, "") for path in chunk}
            advance(len(chunk))
    if unreadable:
        raise InputError(
            f"{root} holds {len(unreadable)} files that can't be read ({named(unreadable)}); give "
            "yourself the right to read them, or copy them again from where they came."
        )
    return hashes


def workers() -> int:
    """-> threads for reading and decoding, which run without Python's lock."""
    return min(16, os.cpu_count() or 1)


def chunks(names: list[str], size: int) -> Iterator[list[str]]:
    """-> the list in pieces."""
    yield from (names[start : start + size] for start in range(0, len(names), size))


def _kept_hash(kept: KeptValues, path: str, state: State) -> str | None:
    value = kept.get(os.fsencode(path))
    if value is None or len(value) != VALUE.size:
        return None
    size, mtime_ns, digest = VALUE.unpack(value)
    return digest.hex() if (size, mtime_ns) == state else None


def _values(found: Mapping[str, str], files: Mapping[str, State]) -> list[tuple[bytes, bytes]]:
    settled = time.time_ns() - SETTLED_NS
    return [
        (os.fsencode(path), VALUE.pack(*files[path], bytes.fromhex(digest)))
        for path, digest in found.items()
        if files[path].mtime_ns < settled
    ]


def _hash(path: Path, state: State) -> str | None:
    """-> None where the file can't be read."""
    try:
        digest, stat = sha256_of(path), path.stat()
    except OSError:
        return None
    if (stat.st_size, stat.st_mtime_ns) != state:
        raise InputError(
            f"{printable(str(path))} changed while it was read; run this again when nothing writes "
            "to the data set any more."
        )
    return digest
