"""One pass over a COCO-format annotation file: its faults by kind, without opening an image.

A fault's ``where`` is a position in the file's own list of images or annotations. The kinds of
PASSED_OVER are no faults: mmdet leaves such annotations out of training, as every detector does,
and they are counted so that nothing vanishes without a word.
"""

import gc
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from math import isfinite
from typing import Any

from semaim_mm.dense.faults import Faults, add_fault
from semaim_mm.errors import InputError

VERSION = 1
# COCO's polygons leave their image by rounding; further out the annotation is of another image
MARGIN = 2.0

IMAGE_KINDS = dict(
    incomplete_images="images without an id or a file_name",
    duplicate_images="images whose id another one has",
    unsized_images="images without a width and height",
    missing_images="images that are not in the folder",
)
ANNOTATION_KINDS = dict(
    incomplete_annotations="annotations without an id, an image_id, a category_id, an area or a "
    "bbox of four numbers",
    duplicate_annotations="annotations whose id another one has",
    orphan_annotations="annotations whose image_id no image has",
    unknown_categories="annotations whose category_id no category has",
    unlisted_categories="annotations of categories that the config's classes do not list",
    zero_size_boxes="boxes of zero or negative size",
    boxes_outside="boxes entirely outside their image",
    zero_areas="annotations with an area of zero, though box and mask have one",
    polygons_outside=f"polygons outside their image, or more than {MARGIN:g} px beyond its border",
    malformed_polygons="polygons with fewer than 3 points, or that are no list of x, y, x, y, ...",
    wrong_rles="run-length masks (RLE) of another size than their image, or without counts",
    maskless="annotations without a segmentation, which the pipeline loads",
    crowdless="annotations without iscrowd, which COCO's metric reads",
)
# kinds that a config may declare harmless: mmdet and COCO's metric pass over another category's
# objects, and clip a polygon at the border; a polygon of two points stops them, so it is not here
TOLERABLE = ("unlisted_categories", "polygons_outside")
PASSED_OVER = dict(
    published="boxes of zero height that COCO train2017 is known to hold",
    tiny_boxes="boxes narrower or lower than 1 px",
    flat_masks="annotations whose box and mask are too thin to have an area",
    ignored="annotations marked 'ignore'",
)
# (annotation, image) -> the box as published: cocodataset/cocoapi#355, visionml/pytracking#18;
# CondadosAI/modern-yolonas#56 counted train2017's 860,001 annotations and found no third one
PUBLISHED = {
    (918, 200365): [296.65, 388.33, 1.03, 0.0],
    (2206849, 550395): [9.98, 188.56, 5.54, 0.0],
}


@contextmanager
def no_collecting() -> Iterator[None]:
    """No search for garbage inside, where millions of small lists are made and kept."""
    collects = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collects:
            gc.enable()


def read_annotations(path: str) -> dict:
    """An annotation file -> its content. Raises InputError where it is no COCO-format JSON."""
    try:
        with open(path, encoding="utf-8") as file:
            content = json.load(file)
    except (OSError, ValueError) as error:
        raise InputError(f"{path} is no readable JSON file ({error}).") from error
    for key in ("images", "annotations", "categories"):
        if not isinstance(content, dict) or not isinstance(content.get(key), list):
            raise InputError(
                f"{path} has no list of {key!r}, so it is no COCO-format annotation file; check "
                "the data set's ann_file."
            )
        if not content[key]:
            raise InputError(f"{path} has an empty list of {key!r}; check the file.")
    return content


def scan_annotations(content: dict, classes: Sequence[str]) -> Faults:
    """The content of an annotation file -> everything found but images missing in the folder."""
    found: Faults = {}
    images = _scan_images(content["images"], found)
    names = {
        category["id"]: category["name"]
        for category in content["categories"]
        if isinstance(category, dict) and {"id", "name"} <= category.keys()
    }
    classes, seen = set(classes), set()
    for index, annotation in enumerate(content["annotations"]):
        try:
            number, image_id = annotation["id"], annotation["image_id"]
            category, area = annotation["category_id"], annotation["area"]
            x, y, w, h = box = annotation["bbox"]
            whole = isfinite(x + y + w + h + area) and category is not None
            image, name = images.get(image_id), names.get(category)
            repeated = number in seen
        except (KeyError, TypeError, ValueError):
            whole = False
        if not whole:
            number = annotation.get("id") if isinstance(annotation, dict) else None
            example = f"number {index}" if number is None else f"annotation {number}"
            add_fault(found, "incomplete_annotations", index, example)
            continue
        seen.add(number)
        if image is None:
            example = f"annotation {number} of image {image_id}"
            add_fault(found, "orphan_annotations", index, example)
        where = f"annotation {number}" + (f" in {image[0]}" if image else "")
        if repeated:
            add_fault(found, "duplicate_annotations", index, where)
        if name is None:
            add_fault(found, "unknown_categories", index, f"category_id {category!r}")
        elif name not in classes:
            add_fault(found, "unlisted_categories", index, repr(name))
        if "iscrowd" not in annotation:
            add_fault(found, "crowdless", index, where)
        if annotation.get("ignore"):
            add_fault(found, "ignored", index, where)
        if not annotation.get("segmentation"):
            add_fault(found, "maskless", index, where)
        if image is None or image[1] is None:
            continue
        _, width, height = image
        segmentation = annotation.get("segmentation")
        if w <= 0 or h <= 0:
            kind = "published" if PUBLISHED.get((number, image_id)) == box else "zero_size_boxes"
            add_fault(found, kind, index, where)
        elif min(x + w, width) <= max(x, 0) or min(y + h, height) <= max(y, 0):
            add_fault(found, "boxes_outside", index, where)
        elif area <= 0:
            thin = w < 1 or h < 1 or _is_flat(segmentation)
            add_fault(found, "flat_masks" if thin else "zero_areas", index, where)
        elif w < 1 or h < 1:
            add_fault(found, "tiny_boxes", index, where)
        for kind in _mask_faults(segmentation, width, height):
            add_fault(found, kind, index, where)
    return found


def scan_folder(content: dict, folder: str, found: Faults) -> None:
    """Add the images that the folder does not hold, from one listing a folder."""
    listings: dict[str, set[str]] = {}
    for index, image in enumerate(content["images"]):
        if not isinstance(image, dict) or not isinstance(image.get("file_name"), str):
            continue  # told as incomplete
        below, name = os.path.split(os.path.join(folder, image["file_name"]))
        if below not in listings:
            listings[below] = set(os.listdir(below)) if os.path.isdir(below) else set()
        if name not in listings[below]:
            add_fault(found, "missing_images", index, image["file_name"])


def class_faults(categories: list, classes: Sequence[str], are_default: bool) -> list[str]:
    """-> what keeps the config's classes from naming the file's categories, a sentence each.

    mmdet would go on with shifted labels, so none of this can be left out.
    """
    named = [c for c in categories if isinstance(c, dict) and {"id", "name"} <= c.keys()]
    names, numbers = [c["name"] for c in named], [c["id"] for c in named]
    if len(named) < len(categories):
        return [f"categories without an id or a name: {len(categories) - len(named)}"]
    twice = sorted({str(n) for n in names + numbers if names.count(n) + numbers.count(n) > 1})
    if twice:
        return [f"categories whose name or id another one has: {', '.join(twice[:3])}"]
    absent = [name for name in classes if name not in names]
    wanted = f"classes={tuple(names)!r}" if len(names) <= 20 else "classes=(...)"
    if absent and are_default:
        return [
            f"it lacks {len(absent)} of COCO's {len(classes)} classes ({', '.join(absent[:3])}"
            f"{', ...' if len(absent) > 3 else ''}), which a config that names none expects; set "
            f"{wanted} in the config"
        ]
    if absent:
        return [
            f"classes of the config that no category has: {len(absent)} "
            f"({', '.join(absent[:3])}{', ...' if len(absent) > 3 else ''}); the file has "
            f"{', '.join(names[:20])}"
        ]
    order = [name for name in names if name in classes]
    if order != list(classes):
        first = next(i for i, name in enumerate(order) if name != classes[i])
        return [
            f"the config lists {classes[first]!r} where the file's categories have "
            f"{order[first]!r}; labels follow the file, so list the classes in its order"
        ]
    return []


def _scan_images(entries: list, found: Faults) -> dict[Any, tuple[str, float | None, float]]:
    """-> {id: (file name, width, height)}, the width None where the size is not known."""
    images: dict[Any, tuple] = {}
    for index, entry in enumerate(entries):
        try:
            number, name = entry["id"], entry["file_name"]
            known = number in images
        except (KeyError, TypeError):
            number = None
        if number is None or not isinstance(name, str):
            add_fault(found, "incomplete_images", index, f"number {index}")
            continue
        if known:
            add_fault(found, "duplicate_images", index, f"{name} with id {number}")
            continue
        width, height = entry.get("width"), entry.get("height")
        sized = all(isinstance(side, int | float) and side > 0 for side in (width, height))
        if not sized:
            add_fault(found, "unsized_images", index, name)
        images[number] = (name, width if sized else None, height)
    return images


def _mask_faults(segmentation: Any, width: float, height: float) -> Iterator[str]:
    """-> the kinds of fault that a mask has, each once."""
    if not segmentation:
        return
    if isinstance(segmentation, dict):
        if not _fits(segmentation, width, height):
            yield "wrong_rles"
        return
    malformed = outside = False
    try:
        for polygon in segmentation:
            if len(polygon) < 6 or len(polygon) % 2 or not isfinite(sum(polygon)):
                malformed = True
                continue
            xs, ys = polygon[::2], polygon[1::2]
            left, right, top, bottom = min(xs), max(xs), min(ys), max(ys)
            beyond = max(-left, -top, right - width, bottom - height) > MARGIN
            if beyond or right < 0 or bottom < 0 or left > width or top > height:
                outside = True
    except (TypeError, KeyError):
        malformed = True
    if malformed:
        yield "malformed_polygons"
    if outside:
        yield "polygons_outside"


def _fits(rle: dict, width: float, height: float) -> bool:
    """Whether a run-length mask has its image's size; its runs, where uncompressed, fill it."""
    runs = rle.get("counts")
    if rle.get("size") != [height, width] or not isinstance(runs, str | list):
        return False
    try:
        return isinstance(runs, str) or sum(runs) == height * width
    except TypeError:
        return False


def _is_flat(segmentation: Any) -> bool:
    """Whether polygons enclose less than half a pixel; other masks count as thick."""
    if not isinstance(segmentation, list) or not segmentation:
        return False
    area = 0.0
    try:
        for polygon in segmentation:
            xs, ys = polygon[::2], polygon[1::2]
            turns = zip(xs, ys, xs[1:] + xs[:1], ys[1:] + ys[:1], strict=True)
            area += abs(sum(x0 * y1 - x1 * y0 for x0, y0, x1, y1 in turns)) / 2
    except (TypeError, ValueError):
        return False
    return area < 0.5
