"""Reading one image, the path named when it fails."""

import struct

import cv2
from mmcv.transforms import LoadImageFromFile
from mmengine.registry import TRANSFORMS
from PIL import Image

from semaim_mm.errors import UnreadableImageError


@TRANSFORMS.register_module()
class LoadImage(LoadImageFromFile):
    """mmcv's loader on Pillow, as the field's own code reads images: 8-bit BGR, (H, W, 3).

    Raises UnreadableImageError with the path where the file can't be decoded.
    """

    def __init__(self, imdecode_backend: str = "pillow", **kwargs):
        super().__init__(imdecode_backend=imdecode_backend, **kwargs)

    def transform(self, results: dict) -> dict | None:
        try:
            return super().transform(results)
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
