"""The manifest of a data set: the same bytes for the same files, wherever they lie.

``files.sha256`` lists every file in the form that ``sha256sum -c`` reads; ``manifest.json`` holds
counts and the listing's own SHA-256, so its hash stands for the whole set. Neither says when or
where it was made. The shipped sample data has manifests of the same form.
"""

import json
import os
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from semaim_mm.data.prepare.findings import Findings
from semaim_mm.data.prepare.listing import Listing
from semaim_mm.errors import InputError
from semaim_mm.interop.checkpoint_file import sha256_of
from semaim_mm.report.result import replacing

MANIFEST, LISTING = "manifest.json", "files.sha256"
VERSION = 1
SAMPLE = "semaim-sample"  # the name in the shipped data's manifest
ESCAPES = {"\\": "\\\\", "\n": "\\n", "\r": "\\r"}  # as coreutils write such names


def manifest_of(data_root: str | Path | None) -> str | None:
    """A data folder -> the SHA-256 of the manifest that covers it, None without one."""
    path = find_manifest(data_root)
    return None if path is None else sha256_of(path)


def find_manifest(data_root: str | Path | None) -> Path | None:
    """A data folder -> the manifest in it, or the one above unless its counts lack this folder."""
    if not data_root:
        return None
    root = Path(os.path.abspath(data_root))  # a link is followed by its name, not by its target
    if (root / MANIFEST).is_file():
        return root / MANIFEST
    above = root.parent / MANIFEST
    if above.is_file():
        folders = peek(above).get("counts")
        if folders is None or any(f"{name}/".startswith(f"{root.name}/") for name in folders):
            return above
    return None


def data_record(dataset: Mapping[str, Any]) -> dict[str, str | None]:
    """A data set's config -> dict(name, folder, manifest_sha256): which images a run read.

    ``folder`` is the part of the set: ImageFolder's split, or where mmdet and mmseg take images.
    """
    root, prefix = dataset.get("data_root") or "", dataset.get("data_prefix") or {}
    folder = dataset.get("split") or prefix.get("img") or prefix.get("img_path") or ""
    found = find_manifest(root)
    if found is not None:
        folder = os.path.relpath(os.path.join(os.path.abspath(root), folder), found.parent)
    return dict(
        name=Path(root).name,
        folder="" if folder == "." else folder.rstrip("/"),
        manifest_sha256=None if found is None else sha256_of(found),
    )


def manifest_content(
    kind: str,
    name: str,
    listing: Listing,
    splits: Mapping[str, Mapping[str, int]],
    found: Findings,
    hashes: Mapping[str, str],
    published: bool,
) -> tuple[dict[str, Any], bytes]:
    """-> the manifest but for the listing's hash, and the listing."""
    counts = Counter(path.rpartition("/")[0] for path in hashes)
    content = dict(
        name=name,
        kind=kind,
        version=VERSION,
        as_published=not found.differences if published else None,
        differences=[finding.text for finding in found.differences],
        splits=splits,
        counts=dict(sorted(counts.items())),
        files=dict(count=len(hashes), bytes=sum(listing.files[path].size for path in hashes)),
    )
    return content, "".join(_line(path, hashes[path]) for path in sorted(hashes)).encode(
        "utf-8", "surrogateescape"
    )


def write_manifest(root: Path, content: dict[str, Any], listing: bytes) -> Path:
    """Write the listing, then the manifest that vouches for it; neither is seen half-written.

    Raises:
        InputError: the folder can't be written.
    """
    try:
        with replacing(root / LISTING) as temporary:
            temporary.write_bytes(listing)
        content["files"]["listing_sha256"] = sha256_of(root / LISTING)
        with replacing(root / MANIFEST) as temporary:
            temporary.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    except OSError as error:
        raise cannot_write(root, error) from error
    return root / MANIFEST


def cannot_write(root: Path, error: OSError | str) -> InputError:
    """-> the error that tells how to prepare a data set that others own."""
    return InputError(
        f"{root} can't be written ({error}), and results look for the manifest there; make a "
        "folder of your own that holds links to its folders, and prepare that one."
    )


def read_manifest(root: Path) -> dict[str, Any]:
    """-> the content of ``root/manifest.json``.

    Raises:
        InputError: there is none, it is none of ours, or its listing is of another run.
    """
    if not (root / MANIFEST).is_file():
        raise InputError(
            f"{root} has no {MANIFEST}; write it: python tools/prepare_data.py KIND {root}."
        )
    content = peek(root / MANIFEST)
    files = content.get("files")
    if content.get("version") != VERSION or not isinstance(files, dict):
        raise InputError(
            f"{root / MANIFEST} is no manifest of version {VERSION}; prepare the data set again."
        )
    listing = root / LISTING
    if not listing.is_file() or sha256_of(listing) != files.get("listing_sha256"):
        raise InputError(
            f"{listing} is not the listing that {MANIFEST} was written with (an interrupted run, "
            "or an edit); prepare the data set again."
        )
    return content


def read_listing(root: Path) -> Iterator[tuple[str, str]]:
    """-> (path below the root, SHA-256) of every file of a manifest, one at a time."""
    with (root / LISTING).open(encoding="utf-8", errors="surrogateescape", newline="\n") as file:
        for line in file:
            escaped = line.startswith("\\")
            digest, _, path = line.rstrip("\n").removeprefix("\\").partition("  ")
            yield (_unescape(path) if escaped else path), digest


def _line(path: str, digest: str) -> str:
    escaped = "".join(ESCAPES.get(character, character) for character in path)
    mark = "\\" if escaped != path else ""
    return f"{mark}{digest}  {escaped}\n"


def _unescape(path: str) -> str:
    pieces = path.split("\\\\")
    return "\\".join(piece.replace("\\n", "\n").replace("\\r", "\r") for piece in pieces)


def peek(path: Path) -> dict[str, Any]:
    """-> what a manifest file holds, nothing where it can't be read."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}
