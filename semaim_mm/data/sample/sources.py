"""Where the pictures come from: one interface over fonts, PNG packages and photograph folders.

`Sources` can be made by hand (tests draw their own shapes); `find_sources` makes it from the
fetched packages and the installed scikit-image. The files' hashes are known without decoding
anything, so that an unchanged data set is recognised at once.
"""

from __future__ import annotations

import hashlib
import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from semaim_mm.data.sample import packages as pkg
from semaim_mm.data.sample.emoji import Emoji, from_font, from_png_folder
from semaim_mm.data.sample.photos import WHEEL_PICTURES, Photo, is_usable, read_photo
from semaim_mm.errors import InputError

MIN_PHOTOS = 6


@dataclass(frozen=True)
class Sources:
    """`files` maps each file's name to its sha256; `packages` are the packages' records."""

    load_emoji: Callable[[], list[Emoji]]
    load_photos: Callable[[], list[Photo]]
    files: dict[str, str]
    packages: list[dict]


def find_sources(root: Path) -> Sources:
    """The pictures under the packages folder `root`, apt's before npm's."""
    if all(pkg.is_fetched(package, root) for package in (pkg.FONT, pkg.NAMES)):
        used = [pkg.FONT, pkg.NAMES]
        font = root / pkg.FONT.name / Path(pkg.FONT.keep[0]).name
        names = root / pkg.NAMES.name / Path(pkg.NAMES.keep[0]).name
        emoji_files, load_emoji = [font, names], partial(from_font, font, names)
    elif pkg.is_fetched(pkg.NPM_EMOJI, root):
        used = [pkg.NPM_EMOJI]
        folder = root / pkg.NPM_EMOJI.name
        emoji_files, load_emoji = sorted(folder.glob("*.*")), partial(from_png_folder, folder)
    else:
        raise InputError(
            f"{root} holds no emoji artwork, so the sample data cannot be made; fetch it: "
            "python tools/fetch_sample_packages.py, or point the configs at folders of your own."
        )
    photo_files = [(path, "scikit-image") for path in _wheel_pictures()]
    if pkg.is_fetched(pkg.WALLPAPERS, root):
        used.append(pkg.WALLPAPERS)
        photo_files += [
            (path, pkg.WALLPAPERS.name)
            for path in sorted((root / pkg.WALLPAPERS.name).glob("*.jpg"))
            if is_usable(path)
        ]
    if len(photo_files) < MIN_PHOTOS:
        raise InputError(
            f"Only {len(photo_files)} photographs for backgrounds were found in {root} and in "
            f"scikit-image, and training and validation need {MIN_PHOTOS}; run python "
            "tools/fetch_sample_packages.py or pip install scikit-image."
        )
    files = emoji_files + [path for path, _ in photo_files]
    return Sources(
        load_emoji,
        lambda: [read_photo(*photo) for photo in photo_files],
        {path.name: _sha256(path) for path in files},
        [pkg.read_record(package, root) for package in used],
    )


def _wheel_pictures() -> list[Path]:
    """The pictures inside the installed scikit-image, without importing it."""
    spec = importlib.util.find_spec("skimage")
    if spec is None or not spec.submodule_search_locations:
        return []
    folder = Path(spec.submodule_search_locations[0]) / "data"
    return [folder / name for name in WHEEL_PICTURES if (folder / name).is_file()]


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
