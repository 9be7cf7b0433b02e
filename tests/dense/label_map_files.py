"""Sets of four images with label maps: a sound one, and what spoils it."""

from __future__ import annotations

import copy
import shutil
from pathlib import Path

import numpy as np
import pytest
from mmengine.registry import DATASETS
from PIL import Image

from semaim_mm.errors import InputError

CLASSES = ("sky", "tree", "road")
WIDTH, HEIGHT = 20, 12
PIPELINE = [dict(type="LoadImage"), dict(type="LoadAnnotations"), dict(type="PackSegInputs")]


def grey(width: int = WIDTH, height: int = HEIGHT, low: int = 0, high: int = 2) -> np.ndarray:
    """A label map with all values from ``low`` to ``high``."""
    values = np.arange(width * height).reshape(height, width) % (high - low + 1) + low
    return values.astype(np.uint8)


def add(root: Path, name: str, image: np.ndarray | None, label_map: np.ndarray | None, **how):
    """Write an image and its label map; None leaves one out."""
    for folder, pixels, suffix in (("images", image, ".jpg"), ("maps", label_map, ".png")):
        if pixels is not None:
            path = root / folder / f"{name}{suffix}"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(path, **(how if folder == "images" else {}))


def picture(width: int = WIDTH, height: int = HEIGHT) -> np.ndarray:
    return np.full((height, width, 3), 90, np.uint8)


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:60])


def missing_maps(root: Path) -> None:
    add(root, "x1", picture(), None)
    add(root, "sub/x2", picture(), None)


def stray_maps(root: Path) -> None:
    add(root, "x3", None, grey())


def unreadable(root: Path) -> None:
    add(root, "x4", picture(), grey())
    truncate(root / "maps" / "x4.png")
    add(root, "x5", picture(), grey())
    (root / "images" / "x5.jpg").write_text("no image")


def wrong_modes(root: Path) -> None:
    add(root, "x6", picture(), np.stack([grey()] * 3, axis=-1))


def wrong_sizes(root: Path) -> None:
    add(root, "x7", picture(), grey(HEIGHT, WIDTH))


def wrong_values(root: Path) -> None:
    add(root, "x8", picture(), grey(high=5))
    add(root, "x9", picture(), grey().astype(np.uint16) + 256)  # mmseg would take 256 for 0


SPOIL = dict(
    missing_maps=(missing_maps, "images without a label map: 2 (sub/x2.jpg, x1.jpg)"),
    stray_maps=(stray_maps, "label maps without an image: 1 (x3.png)"),
    unreadable=(unreadable, "can't be read: 2 (x4.png, x5.jpg)"),
    wrong_modes=(wrong_modes, "one channel of integers: 1 (x6.png, RGB)"),
    wrong_sizes=(wrong_sizes, "size than their image: 1 (x7.png, 12 x 20 for 20 x 12)"),
    wrong_values=(wrong_values, "no class: 2 (x8.png, 3, 4, 5, x9.png, 256, 257, 258)"),
)


def write_set(root: Path) -> Path:
    """Four sound pairs: plain, with 255, with a palette, in a folder below; -> root."""
    add(root, "a", picture(), grey())
    ignored = grey()
    ignored[0] = 255
    add(root, "b", picture(), ignored)
    add(root, "c", picture(), None)
    coloured = Image.fromarray(grey(high=1)).convert("P")
    coloured.putdata(grey(high=1).ravel().tolist())
    coloured.putpalette([255, 0, 0, 0, 255, 0, 0, 0, 255])
    coloured.save(root / "maps" / "c.png")
    add(root, "sub/d", picture(9, 7), grey(9, 7))
    return root


def raw_maps(root: Path, low: int, high: int) -> None:
    """The same four images, with maps that hold all values from ``low`` to ``high``, and 255."""
    shutil.rmtree(root / "maps")
    for name, sides in (("a", ()), ("b", ()), ("c", ()), ("sub/d", (9, 7))):
        values = grey(*sides, low=low, high=high)
        values[0, 0] = 255
        add(root, name, None, values)


def build(root: Path, **changes):
    settings = dict(
        type="CheckedLabelMaps",
        data_root=str(root),
        data_prefix=dict(img_path="images", seg_map_path="maps"),
        metainfo=dict(classes=CLASSES),
        reduce_zero_label=False,
        pipeline=copy.deepcopy(PIPELINE),
        serialize_data=False,
    )
    return DATASETS.build(settings | changes)


def refusal(root: Path, **changes) -> str:
    with pytest.raises(InputError) as caught:
        build(root, **changes)
    return str(caught.value)


def infos(dataset) -> list[dict]:
    return [dataset.get_data_info(index) for index in range(len(dataset))]
