"""ADE20K as the scene parsing challenge published it (SceneParse150, ADEChallengeData2016).

``images`` and ``annotations``, each with ``training`` and ``validation``; a label map's values are
0, which is no class, and 1 to 150.
"""

from pathlib import Path

from semaim_mm.data.prepare.findings import Finding, Findings
from semaim_mm.data.prepare.listing import Listing, add_common_faults, existing_folder, list_folder
from semaim_mm.dense.faults import split_kinds, tell
from semaim_mm.dense.label_map_scan import (
    KINDS,
    PASSED_OVER,
    VERSION,
    Labels,
    Layout,
    scan_label_maps,
    state_of,
)
from semaim_mm.dense.scan_cache import cached_scan

NAME, PUBLISHED = "ade20k-sceneparse150", True
SPLITS = ("training", "validation")
IMAGES = dict(training=20_210, validation=2_000)
STEMS = dict(training="ADE_train", validation="ADE_val")
LABELS = Labels(lowest=0, highest=150, ignored=(), void=0)
ARCHIVE = "ADEChallengeData2016"
AGAIN = f"unpack {ARCHIVE}.zip again"


def find_root(path: str | Path) -> Path:
    """-> the folder itself, or ``ADEChallengeData2016`` in it. Raises InputError without one."""
    path = existing_folder(path)
    return path / ARCHIVE if (path / ARCHIVE).is_dir() else path


def list_files(root: Path) -> Listing:
    """-> images and label maps of both splits."""
    listing = Listing()
    for split in SPLITS:
        list_folder(root, f"images/{split}", (".jpg",), listing)
        list_folder(root, f"annotations/{split}", (".png",), listing)
    return listing


def judge(root: Path, listing: Listing) -> tuple[dict[str, dict[str, int]], Findings]:
    """-> counts by split, and what is not as published. Decodes the label maps, once."""
    found, splits = Findings(), {}
    add_common_faults(listing, found, strangers_stop=False)
    for split in SPLITS:
        folders = [f"images/{split}", f"annotations/{split}"]
        absent = [folder for folder in folders if folder not in listing.folders]
        found.difference("missing folders", absent, f"{AGAIN}, or link to where they are")
        if absent:
            continue
        images, maps = (
            {
                name[len(folder) + 1 :].rpartition(".")[0]: listing.files[name]
                for name in listing.below(folder)
            }
            for folder in folders
        )
        found.count(f"images/{split}: images", len(images), IMAGES[split], AGAIN)
        wanted = {f"{STEMS[split]}_{n:08d}" for n in range(1, IMAGES[split] + 1)}
        if 2 * len(wanted & images.keys()) >= len(images):
            found.difference(f"images/{split}: missing images", wanted - images.keys(), AGAIN)
            found.difference(
                f"images/{split}: extra images", images.keys() - wanted, "move them away"
            )
        for line in _scan(root, folders, images, maps):
            found.append(Finding(f"{split}: {line}", AGAIN, difference=False))
        splits[split] = dict(
            images=len(images),
            label_maps=len(maps),
            bytes=sum(listing.bytes(folder) for folder in folders),
        )
    return splits, found


def _scan(root: Path, folders: list[str], images: dict, maps: dict) -> list[str]:
    layout = Layout(*(str(root / folder) for folder in folders), ".jpg", ".png")
    readable = {name: state for name, state in images.items() if state.size}
    mapped = {name: state for name, state in maps.items() if state.size}
    for name in images.keys() ^ readable.keys() | maps.keys() ^ mapped.keys():
        readable.pop(name, None)  # of size 0, which is told by itself
        mapped.pop(name, None)
    subject = dict(
        scan="ADE20K label maps",
        version=VERSION,
        folders=[str(Path(folder).absolute()) for folder in layout[:2]],
        state=state_of(readable, mapped),
        labels=LABELS,
    )
    scan = cached_scan(subject, lambda: scan_label_maps(layout, readable, mapped, LABELS))
    return tell(split_kinds(scan["faults"], PASSED_OVER)[1], KINDS)
