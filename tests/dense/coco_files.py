"""COCO-format sets of four small images: a sound one, and what each kind of fault adds to it."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import numpy as np
import pytest
from mmengine.registry import DATASETS
from PIL import Image
from pycocotools import mask as mask_tools

from semaim_mm.dense.coco import CheckedCoco
from semaim_mm.errors import InputError

WIDTH, HEIGHT = 40, 30
CLASSES = ("cat", "dog")
MASKS = [
    dict(type="LoadImage"),
    dict(type="LoadAnnotations", with_bbox=True, with_mask=True),
    dict(type="Resize", scale=(80, 60), keep_ratio=True),
    dict(type="PackDetInputs"),
]


def box_polygon(x, y, w, h) -> list[list[float]]:
    return [[x, y, x + w, y, x + w, y + h, x, y + h]]


def annotation(number: int, image: int = 1, box=(4, 5, 10, 8), **changes) -> dict:
    """A sound annotation of category 7 ('dog'), whose mask is its box."""
    w, h = box[2:]
    entry = dict(
        id=number,
        image_id=image,
        category_id=7,
        bbox=list(box),
        area=w * h,
        iscrowd=0,
        segmentation=box_polygon(*box),
    )
    return entry | changes


def compressed(box) -> dict:
    x, y, w, h = box
    mask = np.zeros((HEIGHT, WIDTH), np.uint8, order="F")
    mask[y : y + h, x : x + w] = 1
    rle = mask_tools.encode(mask)
    return dict(size=rle["size"], counts=rle["counts"].decode())


def sound_content() -> dict:
    """Four images: polygons, both kinds of run-length mask, a crowd, and one without objects."""
    runs = [5 * HEIGHT, 10 * HEIGHT, WIDTH * HEIGHT - 15 * HEIGHT]
    return dict(
        images=[dict(id=n, file_name=f"{n}.png", width=WIDTH, height=HEIGHT) for n in range(1, 5)],
        annotations=[
            annotation(10),
            annotation(11, box=(0, 0, 40, 30), category_id=3),
            annotation(12, image=2, segmentation=compressed((4, 5, 10, 8))),
            annotation(
                13,
                image=2,
                box=(5, 0, 10, 30),
                iscrowd=1,
                segmentation=dict(size=[HEIGHT, WIDTH], counts=runs),
            ),
            annotation(14, image=3, box=(30.5, 20.25, 9.51, 9.76)),  # over the border by rounding
        ],
        categories=[dict(id=3, name="cat"), dict(id=7, name="dog")],
    )


def incomplete(number: int, key: str) -> dict:
    entry = annotation(number)
    del entry[key]
    return entry


# what a kind of fault adds to a sound file: images, annotations, and words of the sentence
ADDED: dict[str, tuple[list, list, str]] = dict(
    missing_images=(
        [dict(id=20, file_name="gone.png", width=WIDTH, height=HEIGHT)],
        [annotation(20, image=20)],
        "not in the folder: 1 (gone.png)",
    ),
    incomplete_images=([dict(file_name="1.png", width=40, height=30)], [], ": 1 (number 4)"),
    duplicate_images=(
        [dict(id=1, file_name="2.png", width=WIDTH, height=HEIGHT)],
        [],
        "whose id another one has: 1 (2.png with id 1)",
    ),
    unsized_images=(
        [dict(id=21, file_name="4.png"), dict(id=22, file_name="4.png", width=0, height=5)],
        [annotation(21, image=21)],
        "without a width and height: 2 (4.png)",
    ),
    incomplete_annotations=(
        [],
        [
            incomplete(30, "area"),
            incomplete(31, "bbox"),
            incomplete(32, "image_id"),
            incomplete(33, "category_id"),
            annotation(34, bbox=[1, 2, 3]),
            annotation(35, bbox=[1, 2, "3", 4]),
            annotation(36, bbox=[1, 2, float("nan"), 4]),
            incomplete(37, "id"),
            None,
        ],
        "four numbers: 9 (annotation 30, annotation 31, annotation 32, ...)",
    ),
    duplicate_annotations=(
        [],
        [annotation(10, image=3, box=(1, 1, 5, 5))],
        "whose id another one has: 1 (annotation 10 in 3.png)",
    ),
    orphan_annotations=(
        [],
        [annotation(40, image=99)],
        "image_id no image has: 1 (annotation 40 of image 99)",
    ),
    unknown_categories=(
        [],
        [annotation(41, category_id=0)],
        "no category has: 1 (category_id 0)",
    ),
    zero_size_boxes=(
        [],
        [annotation(50, box=(3, 3, 0, 5)), annotation(51, box=(3, 3, 5, -2))],
        "zero or negative size: 2 (annotation 50 in 1.png, annotation 51 in 1.png)",
    ),
    boxes_outside=(
        [],
        [annotation(52, bbox=[40, 3, 5, 5]), annotation(53, bbox=[2, -9, 5, 9])],
        "entirely outside their image: 2 (annotation 52 in 1.png",
    ),
    zero_areas=(
        [],
        [annotation(54, area=0), annotation(55, area=-3, segmentation=compressed((1, 1, 5, 5)))],
        "an area of zero, though box and mask have one: 2 (annotation 54 in 1.png",
    ),
    polygons_outside=(
        [],
        [
            annotation(60, segmentation=box_polygon(35, 5, 7.5, 4)),  # right
            annotation(61, segmentation=box_polygon(5, -2.5, 8, 8)),  # top
            annotation(62, segmentation=box_polygon(41, 31, 0.5, 0.5)),  # near, yet all outside
            annotation(63, segmentation=box_polygon(4, 4, 5, 5) + box_polygon(50, 50, 5, 5)),
        ],
        "more than 2 px beyond its border: 4 (annotation 60 in 1.png, annotation 61 in 1.png, "
        "annotation 62 in 1.png, ...)",
    ),
    malformed_polygons=(
        [],
        [
            annotation(64, segmentation=[[1, 1, 5, 5]]),
            annotation(65, segmentation=[[1, 1, 5, 5, 2, 7, 3]]),
            annotation(66, segmentation=[1, 1, 5, 5, 2, 7]),
            annotation(67, segmentation=[[1, 1, 5, "5", 2, 7]]),
            annotation(68, segmentation=[dict(size=[HEIGHT, WIDTH], counts="1")]),
        ],
        "fewer than 3 points",
    ),
    wrong_rles=(
        [],
        [
            annotation(70, segmentation=dict(size=[WIDTH, HEIGHT], counts="1")),
            annotation(71, segmentation=dict(size=[HEIGHT, WIDTH])),
            annotation(72, segmentation=dict(size=[HEIGHT, WIDTH], counts=[10, 10])),
        ],
        "another size than their image, or without counts: 3 (annotation 70 in 1.png",
    ),
    maskless=(
        [],
        [annotation(80, segmentation=[]), incomplete(81, "segmentation")],
        "without a segmentation, which the pipeline loads: 2 (annotation 80 in 1.png",
    ),
)


def write_folder(root: Path) -> Path:
    """Four images in ``root/images``; -> root."""
    (root / "images").mkdir()
    noise = np.random.default_rng(0).integers(0, 255, (HEIGHT, WIDTH, 3), np.uint8)
    for number in range(1, 5):
        Image.fromarray(noise).save(root / "images" / f"{number}.png")
    return root


def build(root: Path, content: dict | str, name: str = "a.json", **changes) -> CheckedCoco:
    text = content if isinstance(content, str) else json.dumps(content)
    (root / name).write_text(text)
    return reopen(root, name, **changes)


def reopen(root: Path, name: str = "a.json", **changes) -> CheckedCoco:
    settings = dict(
        type="CheckedCoco",
        data_root=str(root),
        ann_file=name,
        data_prefix=dict(img="images"),
        metainfo=dict(classes=CLASSES),
        pipeline=copy.deepcopy(MASKS),
        serialize_data=False,  # a second faster, for it collects garbage
    )
    return DATASETS.build(settings | changes)


def spoilt(*kinds: str) -> dict:
    content = sound_content()
    for kind in kinds:
        images, annotations, _ = copy.deepcopy(ADDED[kind])
        content["images"] += images
        content["annotations"] += annotations
    return content


def infos(dataset: CheckedCoco) -> list[dict]:
    return [dataset.get_data_info(index) for index in range(len(dataset))]


def refusal(root: Path, content: dict | str, **changes) -> str:
    with pytest.raises(InputError) as caught:
        build(root, content, **changes)
    return str(caught.value)
