"""Composing a scene: cut-outs on a background, with the exact owner of every pixel.

S side of the square scene in pixels. Later objects cover earlier ones. A pixel belongs to the last
object whose alpha is at least one half there; `owner` is 0 for background, i + 1 for object i.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image

from semaim_mm.data.sample.emoji import Emoji, trim
from semaim_mm.data.sample.photos import Photo, change_colours, random_background

MAX_TILT = 15.0  # degrees
PLACE_TRIES = 4  # positions drawn for an object; the one that covers least is taken
CLEAR, HALF, SOLID = 32, 128, 224  # alpha: background below CLEAR, object from SOLID on


@dataclass(frozen=True)
class SceneKind:
    """What the scenes of one task look like; sizes are of an object's longer side, in pixels."""

    side: int
    objects: tuple[int, int]
    size: tuple[int, int]
    labels: tuple[str, ...]


@dataclass(frozen=True)
class Scene:
    """image (S, S, 3) uint8, owner (S, S) uint8, soft (S, S) bool: no clear owner at an edge."""

    image: np.ndarray
    owner: np.ndarray
    soft: np.ndarray
    objects: list[Emoji]


def draw_scene(
    kind: SceneKind,
    emoji: dict[str, list[Emoji]],
    photos: list[Photo],
    rng: np.random.Generator,
    label: str | None = None,
) -> Scene:
    """A scene with identities drawn by class, then within the class; or of one class `label`."""
    low, high = kind.objects
    chosen = []
    for _ in range(rng.integers(low, high + 1)):
        group = emoji[label or kind.labels[rng.integers(len(kind.labels))]]
        chosen.append(group[rng.integers(len(group))])
    background = random_background(photos[rng.integers(len(photos))], kind.side, rng)
    sizes = rng.integers(kind.size[0], kind.size[1] + 1, len(chosen))
    cutouts = [cut_out(one, int(size), rng) for one, size in zip(chosen, sizes, strict=True)]
    return compose(background, cutouts, chosen, rng)


def cut_out(emoji: Emoji, size: int, rng: np.random.Generator) -> np.ndarray:
    """(h, w, 4) uint8 RGBA, its longer side `size`: tilted, perhaps mirrored, colours changed."""
    image = Image.fromarray(emoji.image)
    if rng.random() < 0.5:
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    tilt = rng.uniform(-MAX_TILT, MAX_TILT)
    image = trim(image.rotate(tilt, Image.Resampling.BILINEAR, expand=True))
    scale = size / max(image.size)
    shape = [max(1, round(length * scale)) for length in image.size]
    pixels = np.array(image.resize(shape, Image.Resampling.BICUBIC))
    pixels[..., :3] = change_colours(pixels[..., :3], rng, tint=0.05)
    return pixels


def compose(
    background: np.ndarray,
    cutouts: list[np.ndarray],
    objects: list[Emoji],
    rng: np.random.Generator,
) -> Scene:
    """Paste (h, w, 4) cut-outs one after another onto an (S, S, 3) background."""
    image = background.astype(np.int32)
    side = len(image)
    owner = np.zeros((side, side), np.uint8)
    soft = np.zeros((side, side), bool)
    for number, pixels in enumerate(cutouts, start=1):
        window = _place(owner, pixels, rng)
        alpha = pixels[..., 3].astype(np.int32)
        blend = pixels[..., :3] * alpha[..., None] + image[window] * (255 - alpha[..., None])
        image[window] = (blend + 127) // 255
        owner[window][alpha >= HALF] = number
        soft[window][alpha >= SOLID] = False
        soft[window][(alpha >= CLEAR) & (alpha < SOLID)] = True
    return Scene(image.astype(np.uint8), owner, soft, objects)


def _place(owner: np.ndarray, pixels: np.ndarray, rng: np.random.Generator) -> tuple[slice, slice]:
    """The window, of PLACE_TRIES drawn, in which the cut-out covers least of what is there."""
    height, width = pixels.shape[:2]
    solid = pixels[..., 3] >= HALF
    best, best_cover = None, None
    for _ in range(PLACE_TRIES):
        top = int(rng.integers(0, len(owner) - height + 1))
        left = int(rng.integers(0, len(owner) - width + 1))
        window = slice(top, top + height), slice(left, left + width)
        cover = int(np.count_nonzero(owner[window][solid]))
        if best is None or cover < best_cover:
            best, best_cover = window, cover
    return best
