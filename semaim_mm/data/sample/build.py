"""Writing the sample data set once, and recognising it afterwards.

The whole set is written beside its final place and renamed into it, `manifest.json` last: what has
a manifest is complete. `files.sha256` lists every file in the form that `sha256sum -c` reads.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import PIL

from semaim_mm.data.sample.classes import check_disjoint
from semaim_mm.data.sample.packages import packages_path
from semaim_mm.data.sample.parts import SIZES, Writer, write_parts
from semaim_mm.data.sample.sources import Sources, find_sources
from semaim_mm.errors import InputError

VERSION = 1  # raise it whenever the same seed would give other pixels or files
FOLDERS = ("pretrain", "pretrain_val", "pretrain_val_masks", "cls", "coco", "ade")
TOP_LEVEL = (*FOLDERS, "files.sha256", "manifest.json")


def build_sample_data(
    out: str | Path,
    seed: int = 0,
    sizes: dict[str, int] | None = None,
    *,
    force: bool = False,
    sources: Sources | None = None,
    log: Callable[[str], None] = lambda message: None,
) -> Path:
    """Make the data set in `out` unless it is there already; returns `out`.

    `sizes` replaces entries of SIZES (number of images), `sources` the fetched packages.
    """
    out = Path(out)
    if unknown := set(sizes or {}) - set(SIZES):
        raise InputError(
            f"sizes has {sorted(unknown)}, which is no part of the sample data; the "
            f"parts are {', '.join(SIZES)}."
        )
    sizes = {**SIZES, **(sizes or {})}
    sources = sources or find_sources(packages_path())
    recipe = {"version": VERSION, "seed": seed, "sizes": sizes, "source_files": sources.files}
    key = hashlib.sha256(json.dumps(recipe, sort_keys=True).encode()).hexdigest()
    if not force and is_complete(out, key):
        return out
    _refuse_foreign_folder(out)
    with _alone(out) as staged:
        if not force and is_complete(out, key):  # another process made it while this one waited
            return out
        writer = Writer(staged)
        manifest = dict(name="semaim-sample", key=key, **recipe, packages=sources.packages)
        manifest |= write_parts(writer, sources, sizes, seed, log)
        check_disjoint(manifest)
        _write_manifest(writer, manifest)
        shutil.rmtree(out, ignore_errors=True)
        os.replace(staged, out)
    return out


def is_complete(out: Path, key: str | None = None) -> bool:
    """Whether `out` holds a finished build (of the recipe `key`) with all its files in place."""
    try:
        manifest = json.loads((out / "manifest.json").read_text(encoding="utf-8"))
        files = manifest["files"]
        found = [entry for entry in _files(out) if entry.name != "manifest.json"]
    except (OSError, ValueError, KeyError):
        return False
    return (
        key in (None, manifest.get("key"))
        and len(found) == files["count"]
        and sum(entry.stat().st_size for entry in found) == files["bytes"]
    )


def _files(folder: Path) -> Iterator[os.DirEntry]:
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                yield from _files(entry.path)
            else:
                yield entry


def _refuse_foreign_folder(out: Path) -> None:
    """Only what a build of ours left behind may be replaced."""
    if out.exists() and not out.is_dir():
        raise InputError(f"{out} is a file; name a folder for the sample data with --out.")
    present = sorted(path.name for path in out.iterdir()) if out.exists() else []
    if foreign := [name for name in present if name not in TOP_LEVEL]:
        raise InputError(
            f"{out} holds {foreign[0]!r}, which is not of the sample data and would "
            "be deleted; name an empty folder with --out."
        )


@contextmanager
def _alone(out: Path) -> Iterator[Path]:
    """An empty folder beside `out` to build in, one process at a time."""
    out.parent.mkdir(parents=True, exist_ok=True)
    staged = out.parent / f".{out.name}.building"
    with open(out.parent / f".{out.name}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        shutil.rmtree(staged, ignore_errors=True)  # left by an interrupted build
        staged.mkdir()
        try:
            yield staged
        finally:
            shutil.rmtree(staged, ignore_errors=True)


def _write_manifest(writer: Writer, manifest: dict) -> None:
    """The listing of all files, then the manifest that vouches for it, at once."""
    names = sorted(writer.hashes)
    folders = [name.rpartition("/")[0] for name in names]
    listing = "".join(f"{writer.hashes[name]}  {name}\n" for name in names)
    writer.write("files.sha256", listing.encode())
    manifest |= {
        "counts": {folder: folders.count(folder) for folder in sorted(set(folders))},
        "files": {
            "count": len(writer.hashes),
            "bytes": writer.bytes,
            "listing_sha256": writer.hashes["files.sha256"],
        },
        "made_with": {"pillow": PIL.__version__, "numpy": np.__version__},
    }
    partial_path = writer.root / "manifest.json.partial"
    partial_path.write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")
    os.replace(partial_path, writer.root / "manifest.json")
