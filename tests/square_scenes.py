"""Pictures of 12 x 20 pixels with a square each, as COCO has them: what analyses look at."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from PIL import Image
from pycocotools import mask as rle


def write_squares(root: Path, count: int = 6) -> Path:
    """``count`` pictures with a square each, the third a crowd -> the annotation file."""
    (root / "annotations").mkdir()
    (root / "val").mkdir()
    images, annotations = [], []
    random = np.random.default_rng(0)
    for number in range(count):
        pixels = random.integers(0, 255, (12, 20, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(root / "val" / f"{number}.png")
        mask = np.zeros((12, 20), np.uint8, order="F")
        mask[4:8, 4 * (number % 5) : 4 * (number % 5) + 4] = 1
        shape = rle.encode(mask)
        shape = dict(size=shape["size"], counts=shape["counts"].decode())
        images.append(dict(id=number, file_name=f"{number}.png", width=20, height=12))
        annotations.append(
            dict(
                id=number, image_id=number, category_id=1, area=16, bbox=[0, 0, 4, 4],
                iscrowd=int(number == 2), segmentation=shape,
            )
        )  # fmt: skip
    path = root / "annotations" / "instances_val.json"
    content = dict(images=images, annotations=annotations, categories=[dict(id=1, name="a")])
    path.write_text(json.dumps(content))
    return path
