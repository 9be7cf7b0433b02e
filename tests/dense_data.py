"""Small detection and segmentation sets in the layouts of COCO and ADE20K, for tests."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image


def objects(size: tuple[int, int], seed: int, classes: int) -> tuple[np.ndarray, list]:
    """(width, height) -> an image (H, W, 3) and its bright rectangles as (class, x, y, w, h)."""
    random = np.random.default_rng(seed)
    width, height = size
    pixels = random.integers(0, 60, (height, width, 3), dtype=np.uint8)
    found = []
    for left in (0, width // 2):
        w, h = (int(side * random.uniform(0.25, 0.4)) for side in size)
        x, y = left + 2, int(random.integers(1, height - h - 1))
        label = int(random.integers(classes))
        pixels[y : y + h, x : x + w] = 120 + 40 * np.eye(3, dtype=np.uint8)[label % 3]
        found.append((label, x, y, w, h))
    return pixels, found


def write_coco(
    root: Path,
    names: Sequence[str],
    folders: Sequence[str] = ("train", "val"),
    count: int = 2,
    size: tuple[int, int] = (96, 96),
) -> Path:
    """Images below ``root/<folder>`` and ``root/annotations/instances_<folder>.json``."""
    (root / "annotations").mkdir(parents=True)
    for offset, folder in enumerate(folders):
        (root / folder).mkdir()
        images, annotations = [], []
        for index in range(count):
            pixels, found = objects(size, 10 * offset + index, len(names))
            Image.fromarray(pixels).save(root / folder / f"{index:06d}.jpg")
            images.append(
                dict(id=index + 1, file_name=f"{index:06d}.jpg", width=size[0], height=size[1])
            )
            for label, x, y, w, h in found:
                corners = [x, y, x + w, y, x + w, y + h, x, y + h]
                annotations.append(
                    dict(
                        id=len(annotations) + 1,
                        image_id=index + 1,
                        category_id=label + 1,
                        bbox=[x, y, w, h],
                        area=w * h,
                        iscrowd=0,
                        segmentation=[[float(corner) for corner in corners]],
                    )
                )
        categories = [dict(id=number + 1, name=name) for number, name in enumerate(names)]
        content = dict(images=images, annotations=annotations, categories=categories)
        path = root / "annotations" / f"instances_{folder}.json"
        path.write_text(json.dumps(content))
    return root


def write_ade(root: Path, classes: int, count: int = 2, size: tuple[int, int] = (96, 96)) -> Path:
    """Images and label maps below ``root/{images,annotations}/{training,validation}``.

    Label 0 is a border that counts for nothing; 1 the ground; the objects are 2 to ``classes``.
    """
    for offset, split in enumerate(("training", "validation")):
        for folder in ("images", "annotations"):
            (root / folder / split).mkdir(parents=True)
        for index in range(count):
            pixels, found = objects(size, 10 * offset + index, classes - 1)
            labels = np.ones(pixels.shape[:2], dtype=np.uint8)
            for label, x, y, w, h in found:
                labels[y : y + h, x : x + w] = label + 2
            labels[:1], labels[-1:] = 0, 0
            Image.fromarray(pixels).save(root / "images" / split / f"{index:06d}.jpg")
            Image.fromarray(labels).save(root / "annotations" / split / f"{index:06d}.png")
    return root
