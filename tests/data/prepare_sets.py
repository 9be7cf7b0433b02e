"""Small data sets in the layouts that prepare_data.py takes, for tests."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from PIL import Image
from timm.data import ImageNetInfo

OLD = 1_600_000_000  # a time of change long past: what changed just now is not kept in the cache


def write_file(path: Path, content: bytes = b"pixels") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    os.utime(path, (OLD, OLD))
    return path


def write_folder(root: Path, classes=("cat", "dög dog"), train: int = 4, val: int = 2) -> Path:
    """``root/{train,val}/<class>/<number>.jpg``, every file of its own bytes."""
    for split, count in (("train", train), ("val", val)):
        for name in classes:
            for number in range(count):
                path = root / split / name / f"{number}.jpg"
                write_file(path, f"{split} {name} {number}".encode())
    return root


def write_imagenet(root: Path, classes: int = 1000) -> Path:
    """ImageNet's folders and names with one image a class."""
    for number, name in enumerate(ImageNetInfo("imagenet-1k").label_names()[:classes], start=1):
        write_file(root / "train" / name / f"{name}_{number}.JPEG")
        write_file(root / "val" / name / f"ILSVRC2012_val_{number:08d}.JPEG")
    return root


def write_pixels(path: Path, seed: int, size=(12, 8), **options) -> Path:
    """A noise image whose pixels are a function of ``seed``; options go to Pillow."""
    random = np.random.default_rng(seed)
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = random.integers(0, 256, (*size[::-1], 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path, **options)
    os.utime(path, (OLD, OLD))
    return path
