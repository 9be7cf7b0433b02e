"""What comparisons of pretraining data with test sets found, and which results it touches."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from semaim_mm.data.prepare.listing import is_below
from semaim_mm.data.prepare.manifest import peek
from semaim_mm.errors import InputError
from semaim_mm.report.history import history_of_weights

UNTOLD = {
    "unchecked": "nobody compared its pretraining data with the test images",
    "unknown": "its pretraining data is not recorded, so it may hold test images",
}
OVERLAPS, NAME, VERSION = "overlap.json", "semaim-overlap", 1
SIDE = dict(name=str, manifest_sha256=str, folder=str, images=int)  # of a record's either side


class Overlap(NamedTuple):
    """How many test images a pretraining has seen; a comparison that found none has 0."""

    pretraining: dict[str, Any]  # name, manifest_sha256, folder, images
    test: dict[str, Any]
    shared: int
    pairs: int
    path: Path

    @property
    def sentence(self) -> str:
        return (
            f"{self.shared:,} of {self.test['images']:,} test images ({self.test['name']} "
            f"{self.test['folder']}) were in the pretraining data ({self.pretraining['name']} "
            f"{self.pretraining['folder']})"
        )


def read_overlaps(*places: str | Path) -> list[Overlap]:
    """``overlap.json`` files, or folders that hold data sets up to two levels down -> all in them.

    Raises:
        InputError: a place that doesn't exist, a file that is none of ours.
    """
    paths: dict[Path, None] = {}
    for place in map(Path, places):
        if not place.exists():
            raise InputError(f"There is no {place} to read overlaps from; check the path.")
        found = [place] if place.is_file() else []
        for pattern in (OVERLAPS, f"*/{OVERLAPS}", f"*/*/{OVERLAPS}") if not found else ():
            found += sorted(place.glob(pattern))
        paths |= dict.fromkeys(path.resolve() for path in found)
    return [as_overlap(path, record) for path in paths for record in read_file(path)]


def overlaps_at_hand(data: str | Path | None = None) -> list[Overlap] | None:
    """-> what was compared of the data sets in a folder; None where nothing was.

    The folder is ``$SEMAIM_DATA`` unless told, ``data`` where that is not set either.
    """
    root = Path(data or os.environ.get("SEMAIM_DATA") or "data")
    return (read_overlaps(root) if root.is_dir() else []) or None


class Verdict(NamedTuple):
    """What overlaps say of a result.

    ``state``: 'seen' where test images were in the pretraining data, 'clean' where a comparison
    found none, 'unchecked' where none was made of these two data sets, 'unknown' where the result
    does not record the data of its pretraining (or of its test), 'none' without a pretraining.
    """

    state: str
    overlaps: tuple[Overlap, ...] = ()

    @property
    def note(self) -> str | None:
        """-> a sentence for the table, None where there is nothing to say."""
        # once, though a run and what it started from were of the same data
        touched = dict.fromkeys(overlap.sentence for overlap in self.overlaps if overlap.shared)
        return "; ".join(touched) or UNTOLD.get(self.state)


def judge(result: dict[str, Any], overlaps: Sequence[Overlap]) -> Verdict:
    """A result file's content -> whether its test images were seen in pretraining.

    Read are ``data.manifest_sha256`` and, of the pretrained weights and whatever these were started
    from, ``origin.data`` with the manifest and folder that the run trained on.
    """
    used, test = history_of_weights(result), result["data"]
    if not used:
        return Verdict("none")
    seen = [(weights.get("origin") or {}).get("data") or {} for weights in used]
    found, covered = [], 0
    for data in seen:
        related = [o for o in overlaps if _related(o.test, test) and _related(o.pretraining, data)]
        found += related
        covered += any(_covers(o.test, test) and _covers(o.pretraining, data) for o in related)
    if any(overlap.shared for overlap in found):
        return Verdict("seen", tuple(found))
    if not all(data.get("manifest_sha256") for data in (test, *seen)):
        return Verdict("unknown", tuple(found))
    return Verdict("clean" if covered == len(seen) else "unchecked", tuple(found))


def _related(compared: Mapping[str, Any], used: Mapping[str, Any]) -> bool:
    """Whether a comparison was made of images that a run read, or of some of them."""
    if used.get("manifest_sha256") != compared["manifest_sha256"]:
        return False
    folder = used.get("folder")
    return _covers(compared, used) or is_below(compared["folder"], folder)


def _covers(compared: Mapping[str, Any], used: Mapping[str, Any]) -> bool:
    """Whether it was made of all of them; a folder that is not recorded is the usual one."""
    folder = used.get("folder")
    return folder is None or folder == compared["folder"] or is_below(folder, compared["folder"])


def read_file(path: Path) -> list[dict[str, Any]]:
    """An overlap.json -> its records. Raises InputError where it is none of ours."""
    content = peek(path)
    records = content.get("comparisons")
    whole = isinstance(records, list) and all(map(_is_whole, records))
    if content.get("name") != NAME or content.get("version") != VERSION or not whole:
        raise InputError(
            f"{path} is no {NAME} file of version {VERSION}; remove it and run "
            "tools/prepare_data.py overlap again."
        )
    return records


def _is_whole(record: Any) -> bool:
    """Whether a record has all that is read of it, of the kinds that are written."""
    counts = dict(test_images_shared=int, pairs=int)
    if not _has(record, counts | dict(pretraining=dict, test=dict)):
        return False
    return _has(record["pretraining"], SIDE) and _has(record["test"], SIDE)


def _has(part: Any, kinds: Mapping[str, type]) -> bool:
    return isinstance(part, dict) and all(type(part.get(key)) is kinds[key] for key in kinds)


def as_overlap(path: Path, record: dict[str, Any]) -> Overlap:
    """A record -> what a reader needs of it."""
    pretraining, test = record["pretraining"], record["test"]
    return Overlap(pretraining, test, record["test_images_shared"], record["pairs"], path)
