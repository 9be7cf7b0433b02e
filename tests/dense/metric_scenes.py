"""Scenes of ellipses with their detections, and a metric's score on samples, for tests."""

import numpy as np
import torch
from mmengine.evaluator import Evaluator
from pycocotools import mask as rle

SIDE, NAMES = 160, ("cat", "dog", "emu")
IDS = dict(zip(NAMES, (7, 3, 12), strict=True))  # neither sorted nor from 0, as in real files


def ellipse(random, low, high):
    """A filled ellipse of random size and place -> (SIDE, SIDE) bool."""
    radii = random.uniform(low, high, 2) / 2
    center = random.uniform(0.3 * SIDE, 0.7 * SIDE, 2)
    grid = np.indices((SIDE, SIDE)).transpose(1, 2, 0)
    return (((grid - center) / radii) ** 2).sum(-1) <= 1


def box_of(mask):
    """(H, W) bool -> x, y, width, height."""
    rows, columns = np.nonzero(mask)
    x, y = columns.min(), rows.min()
    return [int(x), int(y), int(columns.max() - x + 1), int(rows.max() - y + 1)]


def encode(mask):
    found = rle.encode(np.asfortranarray(mask.astype(np.uint8)))
    return dict(size=found["size"], counts=found["counts"].decode())


def scene(seed, sizes=((6, 28), (36, 90), (110, 150)), images=8):
    """Random objects, crowds, empty images -> COCO-format ground truth; masks by image."""
    random = np.random.default_rng(seed)
    annotations, masks = [], {}
    for image in range(images):
        masks[10 + image] = []
        for _ in range(0 if image % 4 == 3 else random.integers(1, 6)):
            mask = ellipse(random, *sizes[random.integers(len(sizes))])
            if mask.sum() < 4:
                continue
            name = NAMES[random.integers(3)]
            crowd = int(random.random() < 0.15)
            annotations.append(
                dict(
                    id=len(annotations) + 1,
                    image_id=10 + image,
                    category_id=IDS[name],
                    bbox=box_of(mask),
                    area=int(mask.sum()),
                    iscrowd=crowd,
                    segmentation=encode(mask),
                )
            )
            masks[10 + image].append((name, mask))
    truth = dict(
        images=[dict(id=key, file_name=f"{key}.jpg", width=SIDE, height=SIDE) for key in masks],
        annotations=annotations,
        categories=[dict(id=key, name=name) for name, key in IDS.items()],
    )
    return truth, masks


def detections(masks, seed, extra=2):
    """Objects moved by some pixels, some with a wrong class, and false alarms -> data samples."""
    random = np.random.default_rng(seed)
    samples = []
    for image, objects in masks.items():
        found = [(name, np.roll(mask, random.integers(-4, 5, 2), (0, 1))) for name, mask in objects]
        found += [
            (NAMES[random.integers(3)], m)
            for _ in range(extra)
            if (m := ellipse(random, 8, 90)).any()
        ]
        labels = [NAMES.index(name) if random.random() > 0.1 else 0 for name, _ in found]
        boxes = np.array([box_of(mask) for _, mask in found], dtype=np.float32).reshape(-1, 4)
        boxes[:, 2:] += boxes[:, :2]
        boxes += random.normal(scale=1.5, size=boxes.shape)
        # few scores, so that many tie
        scores = random.integers(1, 9, len(found)) / 9
        samples.append(sample(image, boxes, scores, labels, [mask for _, mask in found]))
    return samples


def sample(image, boxes, scores, labels, masks):
    masks = np.array(masks, dtype=bool).reshape(-1, SIDE, SIDE)
    return dict(
        img_id=image,
        ori_shape=(SIDE, SIDE),
        pred_instances=dict(
            bboxes=torch.tensor(np.asarray(boxes, dtype=np.float32).reshape(-1, 4)),
            scores=torch.tensor(np.asarray(scores, dtype=np.float32)),
            labels=torch.tensor(np.asarray(labels, dtype=np.int64)),
            masks=torch.tensor(masks),
        ),
    )


def score(metric, samples):
    """Two a batch through mmengine's evaluator -> metrics."""
    evaluator = Evaluator(metric)
    for start in range(0, len(samples), 2):
        evaluator.process(samples[start : start + 2])
    return evaluator.evaluate(len(samples))
