"""A set of one's own in any layout, such as COCO-format files or label maps under other names.

Every file below the folder is part of it, annotations as images. What the images are of is not
judged here: the data sets look at boxes and label maps when they are loaded.
"""

from pathlib import Path

from semaim_mm.data.image_folder import EXTENSIONS
from semaim_mm.data.prepare.findings import Findings
from semaim_mm.data.prepare.listing import Listing, add_common_faults, existing_folder, list_folder
from semaim_mm.data.prepare.manifest import MANIFEST, peek

NAME, PUBLISHED = "folder", False

find_root = existing_folder


def list_files(root: Path) -> Listing:
    """-> every file but those that begin with a dot and those that prepare_data.py writes."""
    listing = Listing()
    list_folder(root, "", ("",), listing)
    return listing


def judge(root: Path, listing: Listing) -> tuple[dict[str, dict[str, int]], Findings]:
    """-> counts of the whole ('') and of each folder in it, and what can't be read."""
    found = Findings()
    add_common_faults(listing, found, strangers_stop=True)
    own = root / MANIFEST
    if own.is_file() and "kind" not in peek(own):
        found.fault(
            "files in the manifest's place that prepare_data.py did not write",
            [MANIFEST],
            "make a folder of links to the set's other parts and prepare that, or remove it",
        )
    return {name: _counts(listing, name) for name in ("", *listing.children(""))}, found


def _counts(listing: Listing, folder: str) -> dict[str, int]:
    files = listing.below(folder)
    images = sum(name.lower().endswith(EXTENSIONS) for name in files)
    return dict(files=len(files), images=images, bytes=listing.bytes(folder))
