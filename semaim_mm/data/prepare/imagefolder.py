"""One's own images: ``train/<class>`` and ``val/<class>``, or one folder of classes or images.

Nothing is published of their number, so only what the loaders would stumble over is a fault.
"""

from pathlib import Path

from semaim_mm.data.image_folder import EXTENSIONS
from semaim_mm.data.prepare.findings import Findings
from semaim_mm.data.prepare.listing import Listing, add_common_faults, existing_folder, list_folder
from semaim_mm.data.prepare.splits import check_splits

NAME, PUBLISHED = "imagefolder", False
SPLITS = ("train", "val")

find_root = existing_folder


def list_files(root: Path) -> Listing:
    """-> the images of both splits, or of the whole folder where it has neither."""
    listing = Listing()
    for split in _splits(root):
        list_folder(root, split, EXTENSIONS, listing)
    return listing


def judge(root: Path, listing: Listing) -> tuple[dict[str, dict[str, int]], Findings]:
    """-> counts by split ('' is the folder itself), and what is wrong."""
    found, names = Findings(), _splits(root)
    add_common_faults(listing, found, strangers_stop=True)
    # two splits without a single folder are images for pretraining, some of them held out
    labelled = len(names) == 2 and any(listing.children(split) for split in names)
    splits = check_splits(listing, names, found, labelled)
    if len(names) == 1 and names != [""]:
        absent = next(split for split in SPLITS if split not in names)
        found.difference(
            "missing folders", [absent], "add it where a classifier is to be trained and tested"
        )
    return splits, found


def _splits(root: Path) -> list[str]:
    return [split for split in SPLITS if (root / split).is_dir()] or [""]
