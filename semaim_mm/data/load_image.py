"""Reading one image, the path named when it fails."""

import struct
from collections.abc import Iterator
from contextlib import contextmanager

import cv2
import mmcv
import numpy as np
from mmcv.transforms import LoadImageFromFile
from mmengine.registry import TRANSFORMS
from PIL import Image

from semaim_mm.errors import UnreadableImageError


@contextmanager
def naming_unreadable(results: dict) -> Iterator[None]:
    """Raise UnreadableImageError with ``results['img_path']`` where decoding inside fails."""
    try:
        yield
    except (
        OSError,
        SyntaxError,  # Pillow's word for a broken PNG
        ValueError,
        AssertionError,
        struct.error,
        cv2.error,
        Image.DecompressionBombError,
    ) as error:
        raise UnreadableImageError(
            f"The image {results['img_path']} can't be read ({error}); replace or remove it."
        ) from error


@TRANSFORMS.register_module()
class LoadImage(LoadImageFromFile):
    """mmcv's loader on Pillow, as the field's own code reads images: 8-bit BGR, (H, W, 3).

    Reads ``img_path``, or a file's content where the sample has it as ``img_bytes``.
    Raises UnreadableImageError with the path where the file can't be decoded.
    """

    def __init__(self, imdecode_backend: str = "pillow", **kwargs):
        super().__init__(imdecode_backend=imdecode_backend, **kwargs)

    def transform(self, results: dict) -> dict | None:
        with naming_unreadable(results):
            content = results.pop("img_bytes", None)
            if content is None:
                return super().transform(results)
            image = mmcv.imfrombytes(content, self.color_type, backend=self.imdecode_backend)
            results["img"] = image.astype(np.float32) if self.to_float32 else image
            results["img_shape"] = results["ori_shape"] = image.shape[:2]
            return results
