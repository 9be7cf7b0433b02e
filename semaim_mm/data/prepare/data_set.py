"""Check a data set and write its manifest, or verify the one it has."""

import os
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from semaim_mm.data.prepare.findings import Finding, Findings, as_lines, named
from semaim_mm.data.prepare.hashing import hash_files
from semaim_mm.data.prepare.manifest import (
    LISTING,
    MANIFEST,
    SAMPLE,
    cannot_write,
    manifest_content,
    peek,
    read_listing,
    read_manifest,
    write_manifest,
)
from semaim_mm.errors import InputError

KINDS = ("imagenet", "coco", "ade20k", "imagefolder", "folder")


class Prepared(NamedTuple):
    """A prepared data set; ``warnings`` stand in its manifest, too."""

    root: Path
    manifest: dict[str, Any]
    warnings: list[Finding]


def prepare(
    kind: str, path: str | Path, partial: bool = False, say: Callable[[str], None] = print
) -> Prepared:
    """Check a data set's layout and counts, hash its files, write its manifest.

    Args:
        kind: one of KINDS.
        partial: let differences from the published counts pass and record them.

    Raises:
        InputError: all that is wrong, by kind, count and name, each with how to mend it. Then
            nothing is written.
    """
    layout = _layout(kind)
    root = layout.find_root(path)
    _refuse_sample(root)
    if not os.access(root, os.W_OK):
        raise cannot_write(root, "no right to")
    listing = layout.list_files(root)
    if not listing.files:
        other = " A set of other names is prepared as 'folder'." if layout.PUBLISHED else ""
        raise InputError(
            f"{root} holds no files of {layout.NAME}; {layout.__doc__.splitlines()[0]}{other}"
        )
    say(f"{root}: {len(listing.files):,} files found")
    splits, found = layout.judge(root, listing)
    _stop(root, layout, found, partial)
    hashes = hash_files(root, listing.files)
    content, text = manifest_content(
        kind, layout.NAME, listing, splits, found, hashes, layout.PUBLISHED
    )
    _tell_changes(root, hashes, text, say)
    write_manifest(root, content, text)
    return Prepared(root, content, found.differences)


def check(kind: str, path: str | Path, say: Callable[[str], None] = print) -> dict[str, Any]:
    """Read every byte of a prepared data set -> its manifest, where nothing has changed.

    Raises:
        InputError: no manifest, or what is missing, extra or changed since it was written.
    """
    layout = _layout(kind)
    root = layout.find_root(path)
    manifest = read_manifest(root)
    if manifest.get("kind") != kind:
        raise InputError(
            f"{root / MANIFEST} was written for {manifest.get('kind') or manifest.get('name')!r}, "
            f"not for {kind!r}; name its own kind."
        )
    listing, recorded = layout.list_files(root), dict(read_listing(root))
    say(f"{root}: reading {len(listing.files):,} files")
    present = {name: state for name, state in listing.files.items() if name in recorded}
    hashes, found = hash_files(root, present, cached=False), Findings()
    changes = (
        ("missing files", recorded.keys() - listing.files.keys()),
        ("extra files", listing.files.keys() - recorded.keys()),
        ("changed files", [name for name, digest in hashes.items() if digest != recorded[name]]),
    )
    for what, names in changes:
        found.fault(what, names, "restore them, or prepare the data set anew")
    if found:
        raise InputError(f"{root} is not what its manifest says:{as_lines(found)}")
    return manifest


def _layout(kind: str) -> ModuleType:
    """-> the module of a kind; those of detection and segmentation load mmdet and mmseg."""
    if kind not in KINDS:
        raise InputError(f"There is no kind of data set {kind!r}; choose {', '.join(KINDS)}.")
    return import_module(f"semaim_mm.data.prepare.{kind}")


def _stop(root: Path, layout: ModuleType, found: Findings, partial: bool) -> None:
    """Raise what may not pass; an own set's differences always may."""
    strict = layout.PUBLISHED and not partial
    told = list(found) if strict else found.faults
    if not told:
        return
    what = f"{layout.NAME} as published" if layout.PUBLISHED else "a data set that can be used"
    advice = ""
    if strict and not found.faults:
        advice = "\n--partial lets this pass and records it in the manifest."
    raise InputError(f"{root} is not {what}:{as_lines(told)}{advice}")


def _refuse_sample(root: Path) -> None:
    for place in (root, Path(os.path.abspath(root)).parent):
        if peek(place / MANIFEST).get("name") == SAMPLE:
            raise InputError(
                f"{root} is of the shipped sample data, which came with the manifest "
                f"{place / MANIFEST}; there is nothing to prepare."
            )


def _tell_changes(
    root: Path, hashes: dict[str, str], text: bytes, say: Callable[[str], None]
) -> None:
    """Say what is another than in the manifest that is about to be replaced."""
    if not (root / MANIFEST).is_file() or not (root / LISTING).is_file():
        return
    if (root / LISTING).read_bytes() == text:
        return
    former = dict(read_listing(root))
    changed = [
        name for name in sorted(former.keys() | hashes) if former.get(name) != hashes.get(name)
    ]
    if changed:
        say(
            f"{len(changed):,} files differ from the former manifest ({named(changed)}): results "
            "measured before are not of this data any more"
        )
