"""One pass over the label maps of a segmentation set: missing, misshapen or out-of-range ones.

Every label map is decoded once, by several threads; of an image only the header is read.
"""

import os
import struct
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
from PIL import Image

from semaim_mm.dense.faults import Faults, add_fault
from semaim_mm.report.result import sha256_text

VERSION = 1
IGNORED = 255  # mmseg's loader has no other

KINDS = dict(
    missing_images="images that are listed but not in the folder",
    missing_maps="images without a label map",
    stray_maps="label maps without an image",
    unreadable="images or label maps that can't be read",
    wrong_modes="label maps that are no image of one channel of integers",
    wrong_sizes="label maps of another size than their image",
    wrong_values="label maps with values that are no class",
)
PASSED_OVER = dict(blank_maps="label maps without a pixel of any class")
UNREADABLE = (OSError, SyntaxError, ValueError, struct.error, Image.DecompressionBombError)
ORIENTATION, TURNED = 0x0112, (5, 6, 7, 8)


class Layout(NamedTuple):
    """Where a segmentation set's files are; ``maps`` is None where there are no label maps."""

    images: str
    maps: str | None
    image_suffix: str
    map_suffix: str


class Labels(NamedTuple):
    """What a label map may hold: ``lowest`` to ``highest`` as stored, and ``ignored``."""

    lowest: int
    highest: int
    ignored: tuple[int, ...]
    void: int | None  # a value within the range that is no class either

    def allowed(self) -> set[int]:
        return {*range(self.lowest, self.highest + 1), *self.ignored}

    def classes(self) -> set[int]:
        return self.allowed() - {self.void, *self.ignored}


def labels_of(num_classes: int, reduce_zero_label: bool, ignore_index: int = IGNORED) -> Labels:
    """-> the values that label maps of so many classes may hold as stored.

    With ``reduce_zero_label`` 0 is no class and 1 to N are; mmseg makes 255 of the one and
    0 to N - 1 of the others.
    """
    ignored = tuple(sorted({IGNORED, ignore_index}))
    if reduce_zero_label:
        return Labels(0, num_classes, ignored, void=0)
    return Labels(0, num_classes - 1, ignored, void=None)


def most_classes(reduce_zero_label: bool) -> int:
    """-> how many classes a label map can tell apart once mmseg's loader has read it as bytes."""
    # with reduce_zero_label the loader makes 255 of a stored 255 and of the 0
    return IGNORED - 1 if reduce_zero_label else IGNORED


def list_files(folder: str, suffix: str) -> dict[str, tuple[int, int]]:
    """All files below a folder -> {path below it without the suffix: (bytes, time of change)}.

    As mmengine lists them: names that begin with a dot are passed over, links are followed.
    """
    files: dict[str, tuple[int, int]] = {}
    waiting = [""]
    while waiting:
        below = waiting.pop()
        with os.scandir(os.path.join(folder, below)) as entries:
            for entry in entries:
                path = os.path.join(below, entry.name)
                if entry.name.startswith("."):
                    continue
                if entry.is_dir():
                    waiting.append(path)
                elif path.endswith(suffix) and entry.is_file():
                    stat = entry.stat()
                    files[path.removesuffix(suffix)] = stat.st_size, stat.st_mtime_ns
    return files


def state_of(*listings: dict[str, tuple[int, int]]) -> str:
    """-> SHA-256 of names, sizes and times of change; another set of files has another."""
    return sha256_text(repr([sorted(listing.items()) for listing in listings]))


def scan_label_maps(
    layout: Layout,
    images: dict[str, tuple[int, int]],
    maps: dict[str, tuple[int, int]] | None,
    labels: Labels,
    names: Sequence[str] | None = None,
) -> dict:
    """Files as listed -> dict(faults, values): what is wrong, and all values that are no class.

    Args:
        maps: None where the set has no label maps.
        names: the samples of a split list; None takes every image.
    """
    found: Faults = {}
    wanted = sorted(images) if names is None else list(dict.fromkeys(names))
    for name in wanted:
        if name not in images:
            add_fault(found, "missing_images", name, name + layout.image_suffix)
        elif maps is not None and name not in maps:
            add_fault(found, "missing_maps", name, name + layout.image_suffix)
    if maps is None:
        return dict(faults=found, values=[])
    if names is None:
        for name in sorted(maps.keys() - images.keys()):
            add_fault(found, "stray_maps", name, name + layout.map_suffix)
    pairs = [name for name in wanted if name in images and name in maps]
    allowed, classes, foreign = labels.allowed(), labels.classes(), set()
    # Pillow decodes without Python's lock
    with ThreadPoolExecutor(min(16, os.cpu_count() or 1)) as threads:
        checked = threads.map(lambda name: _check_pair(layout, name, allowed, classes), pairs)
        for name, (faults, values) in zip(pairs, checked, strict=True):
            foreign.update(values)
            for kind, example in faults:
                add_fault(found, kind, name, example)
    return dict(faults=found, values=sorted(foreign))


def _check_pair(
    layout: Layout, name: str, allowed: set[int], classes: set[int]
) -> tuple[list[tuple[str, str]], set[int]]:
    """-> the faults of an image and its label map, as (kind, example), and the foreign values."""
    map_name, faults = name + layout.map_suffix, []
    try:
        size = image_size(os.path.join(layout.images, name + layout.image_suffix))
    except UNREADABLE:
        size = None
        faults.append(("unreadable", name + layout.image_suffix))
    try:
        with Image.open(os.path.join(layout.maps, map_name)) as label_map:
            if size is not None and label_map.size != size:
                sides = "{} x {}".format(*label_map.size), "{} x {}".format(*size)
                faults.append(("wrong_sizes", f"{map_name}, {sides[0]} for {sides[1]}"))
            values = map_values(label_map)
            mode = label_map.mode
    except UNREADABLE:
        return [*faults, ("unreadable", map_name)], set()
    if values is None:
        return [*faults, ("wrong_modes", f"{map_name}, {mode}")], set()
    foreign = values - allowed
    if foreign:
        faults.append(("wrong_values", f"{map_name}, {_enumerate(sorted(foreign))}"))
    elif not values & classes:
        faults.append(("blank_maps", map_name))
    return faults, foreign


def image_size(path: str) -> tuple[int, int]:
    """-> (width, height) as the image is loaded, turned by its EXIF; only its header is read."""
    with Image.open(path) as image:
        # a PNG without EXIF in its header would be decoded in search of it
        known = image.format != "PNG" or "exif" in image.info
        turned = known and image.getexif().get(ORIENTATION) in TURNED
        return image.size[::-1] if turned else image.size


def map_values(label_map: Image.Image) -> set[int] | None:
    """-> the values that a label map holds; None where it has not one channel of integers."""
    if label_map.mode in ("L", "P"):
        return {value for value, count in enumerate(label_map.histogram()) if count}
    if label_map.mode == "1":
        return {value // 255 for value, count in enumerate(label_map.histogram()) if count}
    if label_map.mode == "I" or label_map.mode.startswith("I;"):
        return set(np.unique(np.asarray(label_map)).tolist())
    return None


def _enumerate(values: list[int]) -> str:
    return ", ".join(map(str, values[:3])) + (", ..." if len(values) > 3 else "")


def samples_of(path: str) -> Iterator[str]:
    """-> the names in a split list, one a line, as mmseg reads it."""
    with open(path, encoding="utf-8") as file:
        for line in file:
            yield line.strip()
