"""The parts of the sample data set and the files of each.

Each scene draws from its own random stream, seeded by (seed, part, index), so a smaller build is a
prefix of a larger one.
"""

from __future__ import annotations

import hashlib
import io
import json
import zlib
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from semaim_mm.data.sample.annotations import ADE_CLASSES, coco_annotations, coco_file, label_map
from semaim_mm.data.sample.classes import CLASSES, DENSE_CLASSES, SPLITS, split_by_group
from semaim_mm.data.sample.scenes import Scene, SceneKind, draw_scene
from semaim_mm.data.sample.sources import Sources
from semaim_mm.errors import InputError

SIZES = {
    "pretrain": 8000,
    "pretrain_val": 500,
    "cls_train": 3000,
    "cls_val": 900,
    "coco_train": 1200,
    "coco_val": 200,
    "ade_train": 1200,
    "ade_val": 200,
}
PRETRAIN = SceneKind(side=64, objects=(1, 3), size=(20, 34), labels=CLASSES)
SINGLE = SceneKind(side=64, objects=(1, 1), size=(36, 56), labels=CLASSES)
DENSE = SceneKind(side=96, objects=(1, 3), size=(30, 60), labels=DENSE_CLASSES)


class Writer:
    """Writes files under a folder and remembers the sha256 and size of each."""

    def __init__(self, root: Path) -> None:
        self.root, self.hashes, self.bytes = root, {}, 0

    def write(self, name: str, data: bytes) -> None:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        self.hashes[name] = hashlib.sha256(data).hexdigest()
        self.bytes += len(data)

    def picture(self, name: str, pixels: np.ndarray) -> None:
        """(H, W[, 3]) uint8 as JPEG (quality 95, full colour resolution: half of PNG's decoding
        time), or as PNG where values must survive exactly; by the name's ending."""
        buffer = io.BytesIO()
        options = (
            {"format": "JPEG", "quality": 95, "subsampling": 0}
            if name.endswith(".jpg")
            else {"format": "PNG"}
        )
        Image.fromarray(pixels).save(buffer, **options)
        self.write(name, buffer.getvalue())

    def json(self, name: str, content: dict) -> None:
        self.write(name, (json.dumps(content, indent=1) + "\n").encode())


def write_parts(
    writer: Writer, sources: Sources, sizes: dict[str, int], seed: int, log: Callable[[str], None]
) -> dict:
    """All scenes; returns the manifest's classes, identities and photographs."""
    emoji = {e.key: e for e in sources.load_emoji()}
    photos = {p.name: p for p in sources.load_photos()}
    photo_names = split_by_group({p.name: p.origin for p in photos.values()}, seed)
    chosen = split_by_group({e.key: e.label for e in emoji.values()}, seed)
    keys = {
        split: {label: [k for k in chosen[split] if emoji[k].label == label] for label in CLASSES}
        for split in SPLITS
    }
    if absent := [label for label in CLASSES if not keys["val"][label]]:
        raise InputError(
            f"The emoji artwork shows no {absent[0]}, so the sample data would lack that class; "
            "remove the packages folder and run python tools/fetch_sample_packages.py"
        )
    for part, count in sizes.items():
        split = "val" if part.endswith("_val") else "train"
        pool = {label: [emoji[k] for k in names] for label, names in keys[split].items()}
        write, kind = _PARTS[part.removesuffix("_val").removesuffix("_train")]
        draw = partial(_draw, kind, pool, [photos[n] for n in photo_names[split]], seed, part)
        log(f"{part}: {count} scenes of {kind.side} x {kind.side} pixels")
        write(writer, part, split, count, draw)
    return {
        "classes": CLASSES,
        "dense_classes": DENSE_CLASSES,
        "ade_classes": ADE_CLASSES,
        "identities": keys,
        "photos": photo_names,
    }


def _draw(
    kind: SceneKind,
    pool: dict,
    photos: list,
    seed: int,
    part: str,
    index: int,
    label: str | None = None,
) -> Scene:
    rng = np.random.default_rng([seed, zlib.crc32(part.encode()), index])
    return draw_scene(kind, pool, photos, rng, label)


def _write_pretrain(writer: Writer, part: str, split: str, count: int, draw: Callable) -> None:
    for i in range(count):
        scene = draw(i)
        writer.picture(f"{part}/{i:06d}.jpg", scene.image)
        if split == "val":
            writer.picture(f"{part}_masks/{i:06d}.png", scene.owner)


def _write_cls(writer: Writer, part: str, split: str, count: int, draw: Callable) -> None:
    for i in range(count):
        label = CLASSES[i % len(CLASSES)]
        writer.picture(f"cls/{split}/{label}/{i:06d}.jpg", draw(i, label).image)


def _write_coco(writer: Writer, part: str, split: str, count: int, draw: Callable) -> None:
    images, annotations = [], []
    for i in range(count):
        scene, name = draw(i), f"{i:06d}.jpg"
        writer.picture(f"coco/{split}/{name}", scene.image)
        images.append({"id": i + 1, "file_name": name, "width": DENSE.side, "height": DENSE.side})
        annotations += coco_annotations(scene, i + 1, len(annotations) + 1)
    writer.json(f"coco/annotations/instances_{split}.json", coco_file(images, annotations))


def _write_ade(writer: Writer, part: str, split: str, count: int, draw: Callable) -> None:
    folder = {"train": "training", "val": "validation"}[split]
    for i in range(count):
        scene = draw(i)
        writer.picture(f"ade/images/{folder}/{i:06d}.jpg", scene.image)
        writer.picture(f"ade/annotations/{folder}/{i:06d}.png", label_map(scene))


_PARTS = {
    "pretrain": (_write_pretrain, PRETRAIN),
    "cls": (_write_cls, SINGLE),
    "coco": (_write_coco, DENSE),
    "ade": (_write_ade, DENSE),
}
