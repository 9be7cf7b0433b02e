"""Small scenes in COCO's format, and pycocotools on them and on copies of their images."""

from __future__ import annotations

import io
from contextlib import redirect_stdout
from copy import deepcopy

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

SIDE, SIZES = 600, (20, 60, 130)  # pixels; one size for each of COCO's ranges of area


def scene(seed: int, images: int = 12, classes: int = 3, ties: bool = True):
    """-> ground truth and detections: crowds, empty images, wrong classes, tied scores."""
    random = np.random.default_rng(seed)
    truth, found = [], []

    def score():
        return float(random.integers(1, 8) / 8 if ties else random.random())

    for image in range(1, images + 1):
        for _ in range(random.integers(0, 7)):
            sides = random.uniform(0.6, 1.4, 2) * random.choice(SIZES)
            box = np.concatenate([random.uniform(0, 400, 2), sides])
            category = int(random.integers(1, classes + 1))
            truth.append(
                dict(
                    id=len(truth) + 1,
                    image_id=image,
                    category_id=category,
                    bbox=box.tolist(),
                    area=float(sides.prod()),
                    iscrowd=int(random.random() < 0.15),
                )
            )
            for _ in range(random.integers(0, 3)):
                moved = box * (1 + random.normal(scale=0.08, size=4))
                guess = category if random.random() < 0.9 else 1
                entry = dict(image_id=image, category_id=guess, bbox=moved.tolist())
                found.append(dict(entry, score=score()))
        for _ in range(random.integers(0, 4)):
            side = float(random.choice(SIZES))
            box = [*random.uniform(0, 400, 2).tolist(), side, side]
            category = int(random.integers(1, classes + 1))
            found.append(dict(image_id=image, category_id=category, bbox=box, score=score()))
    dataset = dict(
        images=[dict(id=i, width=SIDE, height=SIDE) for i in range(1, images + 1)],
        annotations=truth,
        categories=[dict(id=k, name=f"class {k}") for k in range(1, classes + 1)],
    )
    return dataset, found


def evaluate(truth: dict, found: list[dict], whole: bool = True) -> COCOeval:
    """pycocotools on a scene; without ``whole`` only its matching."""
    with redirect_stdout(io.StringIO()):
        coco = COCO()
        coco.dataset = deepcopy(truth)
        coco.createIndex()
        evaluation = COCOeval(coco, coco.loadRes(deepcopy(found)), "bbox")
        evaluation.evaluate()
        if whole:
            evaluation.accumulate()
            evaluation.summarize()
    return evaluation


def copied(truth: dict, found: list[dict], counts: np.ndarray) -> tuple[dict, list[dict]]:
    """A scene in which the nth image stands counts[n] times, each time under a new id."""
    images, annotations, detections = [], [], []
    for image, times in zip(truth["images"], counts, strict=True):
        for _ in range(times):
            new = len(images) + 1
            images.append(dict(image, id=new))
            for annotation in truth["annotations"]:
                if annotation["image_id"] == image["id"]:
                    number = len(annotations) + 1
                    annotations.append(dict(annotation, id=number, image_id=new))
            detections += [dict(d, image_id=new) for d in found if d["image_id"] == image["id"]]
    return dict(truth, images=images, annotations=annotations), detections
