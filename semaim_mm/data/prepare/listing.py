"""The files below a data set's folders, by the same rules as the loaders: no file is opened.

Names that begin with a dot are passed over, links are followed. A link to a folder that it lies in
would never end; it is named instead.
"""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path
from typing import NamedTuple

from semaim_mm.data.image_folder import OWN_FILES
from semaim_mm.data.prepare.findings import Findings
from semaim_mm.errors import InputError


class State(NamedTuple):
    """What tells a file from another of the same name without reading it."""

    size: int  # bytes
    mtime_ns: int


@dataclass
class Listing:
    """Files by their path below the data set's root, with '/', and what is in their way."""

    files: dict[str, State] = field(default_factory=dict)
    folders: set[str] = field(default_factory=set)
    strangers: list[str] = field(default_factory=list)  # of none of the suffixes
    broken: list[str] = field(default_factory=list)  # links to nothing, closed folders
    loops: list[str] = field(default_factory=list)

    def below(self, folder: str) -> list[str]:
        """-> the files in a folder and its sub-folders, sorted."""
        return [name for name in sorted(self.files) if is_below(name, folder)]

    def children(self, folder: str) -> list[str]:
        """-> names of the folders directly in ``folder``, sorted."""
        start = f"{folder}/" if folder else ""
        inside = (name[len(start) :] for name in self.folders if is_below(name, folder))
        return sorted(name for name in inside if name and "/" not in name)

    def bytes(self, folder: str) -> int:
        """-> size of the files below a folder."""
        return sum(state.size for name, state in self.files.items() if is_below(name, folder))


def is_below(name: str, folder: str) -> bool:
    """Whether a path lies in a folder ('' is the root)."""
    return not folder or name.startswith(f"{folder}/")


def list_folder(root: Path, folder: str, suffixes: Sequence[str], listing: Listing) -> None:
    """Add to a listing what lies below ``root/folder``; nothing where there is no such folder.

    Args:
        suffixes: of the files that belong there, in lower case.
    """
    start = root / folder
    if start.is_dir():
        listing.folders.add(folder)
        _walk(str(start), folder, tuple(suffixes), listing, frozenset({_identity(str(start))}))


def list_file(root: Path, name: str, listing: Listing) -> None:
    """Add one file, where it exists."""
    path = root / name
    if path.is_file():
        stat = path.stat()
        listing.files[name] = State(stat.st_size, stat.st_mtime_ns)


def existing_folder(path: str | Path) -> Path:
    """-> the path, where it is a folder that can be read.

    Raises:
        InputError: it isn't one.
    """
    path = Path(path)
    if not path.is_dir():
        raise InputError(f"There is no folder {path}; give the one that the data set lies in.")
    return path


def add_common_faults(listing: Listing, found: Findings, strangers_stop: bool) -> None:
    """Tell empty files, broken links and loops, and files of another kind, where these stop."""
    empty = [name for name, state in listing.files.items() if state.size == 0]
    found.fault("files of size 0, which can't be read", empty, "copy or download them again")
    found.fault(
        "broken links, or folders that may not be read",
        listing.broken,
        "restore what they point to and the rights to read it, or remove them",
    )
    found.fault(
        "links to a folder that they lie in, which would never end", listing.loops, "remove them"
    )
    tell = found.fault if strangers_stop else found.difference
    tell(
        "extra files that are of another kind than their folder's",
        listing.strangers,
        "move them elsewhere",
    )


def _walk(
    path: str, below: str, suffixes: tuple[str, ...], listing: Listing, above: frozenset
) -> None:
    for entry in _entries(path, below, listing):
        name = f"{below}/{entry.name}" if below else entry.name
        if entry.name.startswith(".") or (not below and _is_own(entry.name)):
            continue
        try:
            if entry.is_dir():
                identity = _identity(entry.path)
                if identity in above:
                    listing.loops.append(name)
                    continue
                listing.folders.add(name)
                _walk(entry.path, name, suffixes, listing, above | {identity})
            elif not entry.is_file():
                listing.broken.append(name)
            elif entry.name.lower().endswith(suffixes):
                stat = entry.stat()
                listing.files[name] = State(stat.st_size, stat.st_mtime_ns)
            else:
                listing.strangers.append(name)
        except OSError:
            listing.broken.append(name)


def _entries(path: str, below: str, listing: Listing) -> Iterator[os.DirEntry]:
    try:
        with os.scandir(path) as entries:
            yield from sorted(entries, key=lambda entry: entry.name)
    except OSError:
        listing.broken.append(below)


def _identity(path: str) -> tuple[int, int]:
    stat = os.stat(path)
    return stat.st_dev, stat.st_ino


def _is_own(name: str) -> bool:
    return any(fnmatch(name, pattern) for pattern in OWN_FILES)
