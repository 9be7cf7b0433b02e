"""Pictures with the masks of their objects, cut into the patches that a model sees.

Legend: N objects of a picture, L = rows x columns patches in raster order.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import mmcv
import numpy as np
import torch
from pycocotools import mask as rle
from torch import Tensor

from semaim_mm.dense.coco_scan import read_annotations
from semaim_mm.errors import InputError
from semaim_mm.pretrain import SemAIM
from semaim_mm.report.order_data import read_picture

BATCH = 50  # pictures that a model sees at once
COVERED = 0.5  # a patch lies on an object where at least this share of its pixels does


@dataclass(frozen=True)
class Scene:
    """A picture as a model sees it.

    Attributes:
        name: of its file.
        image: (H, W, 3) uint8 BGR.
        objects: (N, L) float32: the share of every patch's pixels that lies on an object.
    """

    name: str
    image: np.ndarray
    objects: np.ndarray

    @property
    def on_object(self) -> np.ndarray:
        """(L,) bool: at least COVERED of the patch lies on one object."""
        return (self.objects >= COVERED).any(axis=0)


def read_scenes(
    annotations: str | Path, size: tuple[int, int], patch_size: int, limit: int | None = None
) -> list[Scene]:
    """COCO's ``annotations/instances_X.json``, images in ``X/`` beside that folder -> its scenes.

    Crowds are no objects. Pictures on which no patch lies on an object are left out.

    Args:
        size: height and width in pixels that the model sees; ``limit``: of pictures, the first.

    Raises:
        InputError: no such file, or no picture that shows an object.
    """
    path = Path(annotations)
    if not path.is_file():
        raise InputError(
            f"There is no annotation file {path}; make the sample data with "
            "tools/make_sample_data.py, or name a COCO file with --annotations."
        )
    content = read_annotations(str(path))
    folder = path.parent.parent / path.stem.removeprefix("instances_")
    found: dict[int, list[dict]] = {}
    for annotation in content["annotations"]:
        if not annotation.get("iscrowd") and annotation.get("segmentation"):
            found.setdefault(annotation["image_id"], []).append(annotation)
    scenes = []
    for info in content["images"]:
        if limit is not None and len(scenes) == limit:
            break
        masks = [_mask(item, info) for item in found.get(info["id"], ())]
        if not masks:
            continue
        objects = np.stack([patch_share(fit(mask, size), patch_size) for mask in masks])
        objects = objects[(objects >= COVERED).any(axis=1)]
        if len(objects):
            image = read_picture(folder / info["file_name"], size)
            scenes.append(Scene(info["file_name"], image, objects))
    if not scenes:
        raise InputError(
            f"No picture of {path} has an object that fills a patch of {patch_size} pixels; name "
            "a file with masks with --annotations."
        )
    return scenes


def _mask(annotation: dict, info: dict) -> np.ndarray:
    """-> (H, W) uint8 of 0 and 1."""
    shape = annotation["segmentation"]
    if isinstance(shape, list):
        shape = rle.merge(rle.frPyObjects(shape, info["height"], info["width"]))
    elif isinstance(shape["counts"], list):
        shape = rle.frPyObjects(shape, info["height"], info["width"])
    return rle.decode(shape)


def fit(mask: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """(H, W) mask -> of ``size``: resized and cropped as ``read_picture`` does with the image."""
    rows, columns = mask.shape
    scale = max(size[0] / rows, size[1] / columns)
    rows, columns = max(size[0], round(rows * scale)), max(size[1], round(columns * scale))
    mask = mmcv.imresize(mask, (columns, rows), interpolation="nearest")
    top, left = (rows - size[0]) // 2, (columns - size[1]) // 2
    return mask[top : top + size[0], left : left + size[1]]


def patch_share(mask: np.ndarray, patch_size: int) -> np.ndarray:
    """(H, W) mask of 0 and 1 -> (L,) float32: the share of every patch that it covers."""
    rows, columns = (side // patch_size for side in mask.shape)
    cut = mask.reshape(rows, patch_size, columns, patch_size)
    return cut.mean(axis=(1, 3)).reshape(-1).astype(np.float32)


def batches(model: SemAIM, scenes: Sequence[Scene]) -> Iterator[Tensor]:
    """Scenes -> (B, 3, H, W), normalised as the model wants, BATCH at a time."""
    for start in range(0, len(scenes), BATCH):
        yield as_batch(model, list(scenes[start : start + BATCH]))


def as_batch(model: SemAIM, scenes: list[Scene]) -> Tensor:
    """Scenes -> (B, 3, H, W), normalised as the model wants."""
    pixels = [torch.from_numpy(scene.image.transpose(2, 0, 1).copy()) for scene in scenes]
    imgs = model.data_preprocessor(dict(inputs=torch.stack(pixels), data_samples=[]), False)
    return imgs["inputs"]
