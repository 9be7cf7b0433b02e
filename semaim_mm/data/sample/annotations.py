"""Exact ground truth of a scene: COCO annotations and ADE20K-style label maps."""

from __future__ import annotations

import numpy as np
from pycocotools import mask as coco_mask

from semaim_mm.data.sample.classes import DENSE_CLASSES
from semaim_mm.data.sample.scenes import Scene

MIN_VISIBLE = 25  # pixels; an object that shows less is not annotated
ADE_CLASSES = ("background", *DENSE_CLASSES)  # label 1 and on; label 0 is 'unlabelled'


def coco_annotations(scene: Scene, image_id: int, first_id: int) -> list[dict]:
    """Visible mask (compressed RLE), its area and tight box [x, y, w, h] of each object."""
    found = []
    for number, emoji in enumerate(scene.objects, start=1):
        visible = scene.owner == number
        area = int(visible.sum())
        if area < MIN_VISIBLE:
            continue
        rows, columns = np.flatnonzero(visible.any(1)), np.flatnonzero(visible.any(0))
        box = [
            int(columns[0]),
            int(rows[0]),
            int(columns[-1] - columns[0]) + 1,
            int(rows[-1] - rows[0]) + 1,
        ]
        rle = coco_mask.encode(np.asfortranarray(visible, np.uint8))
        found.append(
            {
                "id": first_id + len(found),
                "image_id": image_id,
                "bbox": box,
                "area": area,
                "iscrowd": 0,
                "category_id": DENSE_CLASSES.index(emoji.label) + 1,
                "segmentation": {
                    "size": list(rle["size"]),
                    "counts": rle["counts"].decode("ascii"),
                },
            }
        )
    return found


def coco_file(images: list[dict], annotations: list[dict]) -> dict:
    """The content of an `instances_*.json`."""
    categories = [
        {"id": i, "name": name, "supercategory": "object"}
        for i, name in enumerate(DENSE_CLASSES, start=1)
    ]
    return {
        "info": {"description": "SemAIM sample scenes"},
        "licenses": [],
        "images": images,
        "annotations": annotations,
        "categories": categories,
    }


def label_map(scene: Scene) -> np.ndarray:
    """(S, S) uint8: 0 where an edge is soft, 1 background, then DENSE_CLASSES from 2 on."""
    label_of_owner = np.array(
        [ADE_CLASSES.index("background") + 1]
        + [ADE_CLASSES.index(emoji.label) + 1 for emoji in scene.objects],
        np.uint8,
    )
    labels = label_of_owner[scene.owner]
    labels[scene.soft] = 0
    return labels
