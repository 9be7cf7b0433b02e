"""COCO 2017: ``train2017``, ``val2017`` and ``annotations/instances_*2017.json``.

Numbers of images as published, of annotations as counted in the published files by many a reader.
"""

from pathlib import Path

from semaim_mm.data.prepare.findings import Findings
from semaim_mm.data.prepare.listing import (
    Listing,
    add_common_faults,
    existing_folder,
    list_file,
    list_folder,
)
from semaim_mm.dense.coco_scan import no_collecting, read_annotations
from semaim_mm.dense.scan_cache import cached_scan, file_state

NAME, PUBLISHED = "coco-2017", True
SPLITS = ("train2017", "val2017")
IMAGES = dict(train2017=118_287, val2017=5_000)
ANNOTATIONS = dict(train2017=860_001, val2017=36_781)
CATEGORIES = 80
AGAIN = "unpack the published archive again"

find_root = existing_folder


def list_files(root: Path) -> Listing:
    """-> the images of both splits and their two files of boxes and masks."""
    listing = Listing()
    for split in SPLITS:
        list_folder(root, split, (".jpg",), listing)
        list_file(root, _annotations(split), listing)
    return listing


def judge(root: Path, listing: Listing) -> tuple[dict[str, dict[str, int]], Findings]:
    """-> counts by split, and what is not as published.

    Raises:
        InputError: an annotation file that is no COCO-format JSON.
    """
    found, splits = Findings(), {}
    # images are read by the names in the annotation files: what lies beside them is in no one's way
    add_common_faults(listing, found, strangers_stop=False)
    for split in SPLITS:
        images = listing.below(split)
        if split not in listing.folders:
            found.difference("missing folders", [split], f"{AGAIN}, or link to where it is")
        else:
            found.count(f"{split}: images", len(images), IMAGES[split], AGAIN)
        counts = dict(images=len(images), bytes=listing.bytes(split))
        file = _annotations(split)
        state = listing.files.get(file)
        if state is None:
            found.difference("missing annotation files", [file], AGAIN)
        elif state.size:  # an empty one is told already
            counts |= _judge_annotations(root, split, images, found)
        if images or state is not None:
            splits[split] = counts
    return splits, found


def _judge_annotations(
    root: Path, split: str, images: list[str], found: Findings
) -> dict[str, int]:
    path = root / _annotations(split)
    subject = dict(scan="contents of a COCO file", version=1, file=file_state(path))
    content = cached_scan(subject, lambda: _contents(path))
    listed, present = set(content["names"]), {name.removeprefix(f"{split}/") for name in images}
    found.difference(
        f"{split}: images that {path.name} lists and the folder lacks", listed - present, AGAIN
    )
    found.difference(
        f"{split}: extra images, which {path.name} does not list",
        present - listed,
        "move them away",
    )
    numbers = dict(annotations=content["annotations"], categories=content["categories"])
    found.count(f"{path.name}: images", content["images"], IMAGES[split], AGAIN)
    found.count(f"{path.name}: annotations", numbers["annotations"], ANNOTATIONS[split], AGAIN)
    found.count(f"{path.name}: categories", numbers["categories"], CATEGORIES, AGAIN)
    return numbers


def _contents(path: Path) -> dict:
    with no_collecting():
        content = read_annotations(str(path))
    images = [image for image in content["images"] if isinstance(image, dict)]
    return dict(
        images=len(content["images"]),
        annotations=len(content["annotations"]),
        categories=len(content["categories"]),
        names=sorted(str(image.get("file_name")) for image in images),
    )


def _annotations(split: str) -> str:
    return f"annotations/instances_{split}.json"
