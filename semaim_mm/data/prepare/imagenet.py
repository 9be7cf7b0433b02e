"""ImageNet-1K (ILSVRC 2012) in class folders: ``train/<WordNet id>``, ``val/<WordNet id>``.

Counts as Russakovsky et al., "ImageNet Large Scale Visual Recognition Challenge", give them.
"""

import re
from collections import Counter
from pathlib import Path

from timm.data import ImageNetInfo

from semaim_mm.data.image_folder import EXTENSIONS
from semaim_mm.data.prepare.findings import Findings
from semaim_mm.data.prepare.listing import Listing, add_common_faults, existing_folder, list_folder
from semaim_mm.data.prepare.splits import check_splits

NAME, PUBLISHED = "imagenet-1k", True
SPLITS = ("train", "val")
IMAGES = dict(train=1_281_167, val=50_000)
PER_CLASS = dict(train=(732, 1300), val=(50, 50))
VAL_NAME = re.compile(r"ILSVRC2012_val_(\d{8})\.JPEG")
TRAIN_NAME = re.compile(r"(n\d{8})_\d+\.JPEG")

find_root = existing_folder


def list_files(root: Path) -> Listing:
    """-> the images of both splits."""
    listing = Listing()
    for split in SPLITS:
        list_folder(root, split, EXTENSIONS, listing)
    return listing


def judge(root: Path, listing: Listing) -> tuple[dict[str, dict[str, int]], Findings]:
    """-> counts by split, and what is not as published."""
    found = Findings()
    add_common_faults(listing, found, strangers_stop=True)
    splits = check_splits(listing, SPLITS, found, labelled=True)
    synsets = set(ImageNetInfo("imagenet-1k").label_names())
    for split in SPLITS:
        if split not in splits:
            found.difference(
                "missing folders",
                [split],
                "put the images there in folders named by WordNet id, as "
                f"{split}/n01440764/*.JPEG, or link to where they are",
            )
            continue
        _judge_split(split, set(listing.children(split)), listing.below(split), synsets, found)
    return splits, found


def _judge_split(
    split: str, folders: set[str], images: list[str], synsets: set[str], found: Findings
) -> None:
    found.difference(
        f"{split}: missing class folders", synsets - folders, f"unpack the {split} archive again"
    )
    found.difference(
        f"{split}: extra folders, of no class of ImageNet-1K", folders - synsets, "move them away"
    )
    found.count(
        f"{split}: images",
        len(images),
        IMAGES[split],
        f"unpack the {split} archive again where some are missing, remove what was added",
    )
    low, high = PER_CLASS[split]
    sizes = Counter(name.split("/")[1] for name in images if name.count("/") > 1)
    odd = [f"{name} {n}" for name, n in sizes.items() if name in synsets and not low <= n <= high]
    found.difference(
        f"{split}: classes of another size than {low if low == high else f'{low} to {high:,}'} "
        "images",
        odd,
        "compare their folders with the archive",
    )
    if split == "train":
        named = ((name, TRAIN_NAME.fullmatch(name.split("/")[-1])) for name in images)
        found.fault(
            "train: images whose name says another class than their folder",
            [name for name, match in named if match and match[1] not in name.split("/")[:-1]],
            "move them to the folder of their name",
        )
    else:
        _judge_val_names(images, found)


def _judge_val_names(images: list[str], found: Findings) -> None:
    """Tell the missing, strange and repeated names, where the images have their published ones."""
    matches = {name: VAL_NAME.fullmatch(name.rpartition("/")[2]) for name in images}
    numbers = Counter(int(match[1]) for match in matches.values() if match)
    if 2 * sum(numbers.values()) < len(images):
        return  # renamed as a whole: no loader reads these names
    wanted = range(1, IMAGES["val"] + 1)
    found.difference(
        "val: missing images",
        (f"ILSVRC2012_val_{number:08d}.JPEG" for number in wanted if number not in numbers),
        "unpack the val archive again",
    )
    found.difference(
        "val: extra images, of no published name",
        (name for name, match in matches.items() if not match or int(match[1]) not in wanted),
        "move them away",
    )
    found.fault(
        "val: images that lie in several class folders",
        (f"ILSVRC2012_val_{number:08d}.JPEG" for number, times in numbers.items() if times > 1),
        "keep each in the folder of its true class",
    )
