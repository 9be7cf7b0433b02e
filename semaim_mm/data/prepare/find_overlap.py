"""Find test images that a pretraining has seen, by their decoded pixels.

Two files count as equal only where the loader makes the same pixels of both: a JPEG and a PNG made
of it do, a re-encoded or resized copy does not. What was found is written into ``overlap.json``
beside the test set's manifest, by the manifests of both sets; ``overlap`` reads it.
"""

import json
import os
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from semaim_mm.data.prepare.findings import named
from semaim_mm.data.prepare.manifest import (
    MANIFEST,
    SAMPLE,
    cannot_write,
    find_manifest,
    peek,
    read_manifest,
)
from semaim_mm.data.prepare.overlap import NAME, OVERLAPS, VERSION, as_overlap, read_file
from semaim_mm.data.prepare.pixels import decoder, image_names, pixel_hashes
from semaim_mm.errors import InputError
from semaim_mm.interop.checkpoint_file import sha256_of
from semaim_mm.report.result import replacing

KEPT = 5  # pretraining images named for each test image
# the part of a data set that a pretraining reads, and the part that a test does
PARTS = dict(
    imagenet=("train", "val"),
    coco=("train2017", "val2017"),
    ade20k=("images/training", "images/validation"),
    imagefolder=("train", "val"),
)


class Side(NamedTuple):
    """A folder of images below a data set's root, and the manifest that lists them."""

    root: Path
    name: str
    manifest_sha256: str
    folder: str

    def record(self) -> dict[str, str]:
        return dict(name=self.name, manifest_sha256=self.manifest_sha256, folder=self.folder)

    def __str__(self) -> str:
        return str(self.root / self.folder)


def find_overlaps(
    pretraining: str | Path, tests: Sequence[str | Path], say: Callable[[str], None] = print
) -> list[dict[str, Any]]:
    """Compare a pretraining's images with those of test sets -> one record a test set, written.

    Args:
        pretraining: a prepared data set, of which the training part is taken, or a folder of one.
        tests: the same; the test part is taken. The hashes of their pixels are held in memory, of
            the pretraining's only those of a thousand images at a time.

    Raises:
        InputError: a folder without a manifest or images, a file that changed since, the same
            folder on both sides.
    """
    source, targets = locate(pretraining, test=False), [locate(path, test=True) for path in tests]
    for target in targets:
        if target[2:] == source[2:]:
            raise InputError(f"{target} stands on both sides of the comparison; name two folders.")
        _check_place(target)
    holders: dict[bytes, list[tuple[int, str]]] = defaultdict(list)
    records = []
    for number, target in enumerate(targets):
        unreadable: list[str] = []
        for name, digest in pixel_hashes(target.root, target.folder, unreadable):
            holders[digest].append((number, name))
        test = dict(target.record(), images=_images(target), unreadable=_told(unreadable))
        records.append(dict(test=test, decoder=decoder(), pairs=0, shared={}))
    unreadable = []
    for name, digest in pixel_hashes(source.root, source.folder, unreadable):
        for number, test_name in holders.get(digest, ()):
            records[number]["pairs"] += 1
            entry = records[number]["shared"].setdefault(test_name, dict(count=0, pretraining=[]))
            entry["count"] += 1
            if len(entry["pretraining"]) < KEPT:
                entry["pretraining"].append(name)
    seen = dict(source.record(), images=_images(source), unreadable=_told(unreadable))
    for target, record in zip(targets, records, strict=True):
        record |= dict(pretraining=seen, shared=dict(sorted(record["shared"].items())))
        record["test_images_shared"] = len(record["shared"])
        say(_sentence(record))
        _write(target.root, record)
    return records


def locate(path: str | Path, test: bool) -> Side:
    """A data set's root, or a folder of it -> the images meant and their manifest.

    A root stands for its training part or, with ``test``, its test part.

    Raises:
        InputError: no such folder, or no manifest in it or above.
    """
    path = Path(os.path.abspath(path))
    if not path.is_dir():
        raise InputError(f"There is no folder {path}; give a data set's, or one of its parts.")
    # ade/ADEChallengeData2016/images/validation: three folders down
    for root in (path, *path.parents[:3]):
        manifest = find_manifest(root)
        if manifest is not None:
            break
    else:
        raise InputError(
            f"No manifest covers {path}; prepare that data set first: "
            "python tools/prepare_data.py KIND PATH."
        )
    root = manifest.parent
    content = read_manifest(root)
    folder = "" if path == root else path.relative_to(root).as_posix()
    if not folder:
        part = PARTS.get(content.get("kind"), ("", ""))[test]
        folder = part if image_names(root, part) else ""
    side = Side(root, root.name, sha256_of(manifest), folder)
    if not image_names(root, folder):
        raise InputError(f"{side} holds no image that {manifest} lists; give another folder.")
    return side


def _check_place(target: Side) -> None:
    if peek(target.root / MANIFEST).get("name") == SAMPLE:
        raise InputError(
            f"{target} is of the shipped sample data, whose splits share no image by the way they "
            "are made; there is nothing to compare it with."
        )
    if not os.access(target.root, os.W_OK):
        raise cannot_write(target.root, "no right to")


def _images(side: Side) -> int:
    return len(image_names(side.root, side.folder))


def _told(unreadable: Sequence[str]) -> dict[str, Any]:
    return dict(count=len(unreadable), examples=list(unreadable[:KEPT]))


def _sentence(record: dict[str, Any]) -> str:
    overlap = as_overlap(Path(), record)
    examples = [
        f"{test} = {entry['pretraining'][0]}" for test, entry in list(record["shared"].items())
    ]
    lost = sum(record[side]["unreadable"]["count"] for side in ("test", "pretraining"))
    return (
        overlap.sentence
        + (f": {record['pairs']:,} pairs of files ({named(examples)})" if examples else "")
        + (f"; {lost:,} images can't be decoded and were left out" if lost else "")
    )


def _write(root: Path, record: dict[str, Any]) -> None:
    """Put a record into ``root/overlap.json``, in the place of one of the same images."""
    path, this = root / OVERLAPS, _key(record)
    kept = [other for other in read_file(path) if _key(other) != this] if path.is_file() else []
    content = dict(name=NAME, version=VERSION, comparisons=sorted([*kept, record], key=_key))
    try:
        with replacing(path) as temporary:
            temporary.write_text(json.dumps(content, indent=1, sort_keys=True) + "\n")
    except OSError as error:
        raise cannot_write(root, error) from error


def _key(record: dict[str, Any]) -> tuple[str, ...]:
    sides = (record["pretraining"], record["test"])
    return tuple(side[key] for side in sides for key in ("manifest_sha256", "folder"))
