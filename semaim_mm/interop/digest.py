"""A SHA-256 inside the checkpoint that it covers, as the comment that ends a zip archive.

A file and its digest therefore appear together or not at all. torch and zip tools read past it.
"""

import hashlib
import struct
import zipfile
from pathlib import Path
from typing import BinaryIO

from semaim_mm.errors import InputError

_MARK = b"semaim_mm sha256 "
_HEX = 64
_END_RECORD, _END_SIGNATURE = 22, b"PK\x05\x06"
_CHUNK = 1 << 20


class DigestWriter:
    """A file to hand to ``torch.save``; ``finish`` then appends the digest of what was written.

    The first OSError is kept in ``error`` and the rest is swallowed: torch's own writer ends the
    process when a write fails while it unwinds. Ask ``error`` before trusting the file.
    """

    def __init__(self, file: BinaryIO):
        self.file, self.error, self.written = file, None, 0
        self._hash, self._held = hashlib.sha256(), b""

    def write(self, data: bytes) -> int:
        """Write all but the last bytes, which ``finish`` has to amend."""
        data = bytes(data)
        whole = self._held + data
        self._held = whole[-_END_RECORD:]
        self._put(whole[:-_END_RECORD])
        return len(data)

    def flush(self) -> None:
        """What ``torch.save`` calls; ``finish`` does it once, at the end."""

    def finish(self) -> None:
        """Write the end of the archive with the digest as its comment. Raises the kept OSError."""
        if self.error is None and not self._held.startswith(_END_SIGNATURE):
            self.error = OSError("what was written does not end as a zip archive")
        size = struct.pack("<H", len(_MARK) + _HEX)
        self._put(self._held[:-2] + size + _MARK)
        self._put(self._hash.hexdigest().encode())
        if self.error is not None:
            raise self.error

    def _put(self, data: bytes) -> None:
        if self.error is None:
            try:
                self.file.write(data)
                self._hash.update(data)
                self.written += len(data)
            except OSError as error:
                self.error = error


def has_digest(path: str | Path) -> bool:
    """Whether a file ends in a digest of ours."""
    return _stated(Path(path)) is not None


def check_digest(path: str | Path) -> None:
    """Raise InputError where a file differs from its digest; one without passes."""
    path = Path(path)
    stated = _stated(path)
    if stated is None:
        return
    digest, left = hashlib.sha256(), path.stat().st_size - _HEX
    with path.open("rb") as file:
        while left > 0 and (chunk := file.read(min(_CHUNK, left))):
            digest.update(chunk)
            left -= len(chunk)
    if digest.hexdigest() != stated:
        raise InputError(
            f"{path} is damaged: its content does not have the SHA-256 that it states. Take "
            "another checkpoint, or copy this one again."
        )


def check_archive(path: str | Path) -> None:
    """As check_digest; a zip archive without a digest is held against its own CRCs."""
    check_digest(path)
    if has_digest(path) or not zipfile.is_zipfile(path):
        return
    try:
        with zipfile.ZipFile(path) as archive:
            broken = archive.testzip()
    except (zipfile.BadZipFile, OSError, NotImplementedError) as error:
        raise InputError(f"{path} is damaged ({error}); take another checkpoint.") from error
    if broken is not None:
        raise InputError(f"{path} is damaged in {broken}; take another checkpoint.")


def _stated(path: Path) -> str | None:
    with path.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(max(0, size - len(_MARK) - _HEX))
        tail = file.read()
    if not tail.startswith(_MARK):
        return None
    return tail[len(_MARK) :].decode("ascii", "replace")
