"""Reading one image, the path named when it fails."""

import struct
from io import BytesIO

import cv2
import numpy as np
from mmcv.transforms import LoadImageFromFile
from mmengine import fileio
from mmengine.registry import TRANSFORMS
from PIL import Image

from semaim_mm.errors import UnreadableImageError

# formats that may hold grey values of more than 8 bits, which Pillow would clip to white
DEEP = (".png", ".pgm", ".tif", ".tiff")


@TRANSFORMS.register_module()
class LoadImage(LoadImageFromFile):
    """mmcv's loader on Pillow, as the field's own code reads images: 8-bit BGR, (H, W, 3).

    Of an animation the first frame is read, of 16-bit grey the upper byte; CMYK, palettes and
    transparency become colours as Pillow makes them. The limit is Pillow's, 178,956,970 pixels.

    Raises UnreadableImageError with the path where the file can't be decoded.
    """

    def __init__(self, imdecode_backend: str = "pillow", **kwargs):
        super().__init__(imdecode_backend=imdecode_backend, **kwargs)

    def transform(self, results: dict) -> dict | None:
        path = results["img_path"]
        try:
            if str(path).lower().endswith(DEEP):
                image = _deep_grey(fileio.get(path, backend_args=self.backend_args))
                if image is not None:
                    return self._with(results, image)
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
                f"The image {path} can't be read ({error}); replace or remove it."
            ) from error

    def _with(self, results: dict, image: np.ndarray) -> dict:
        results["img"] = image.astype(np.float32) if self.to_float32 else image
        results["img_shape"] = results["ori_shape"] = image.shape[:2]
        return results


def _deep_grey(content: bytes) -> np.ndarray | None:
    """A file of 16-bit grey values -> their upper bytes, (H, W, 3); None for any other file.

    Raises ValueError for values that are no picture's: of 32 bits or floating point.
    """
    with Image.open(BytesIO(content)) as image:
        if not image.mode.startswith(("I", "F")):
            return None
        values = np.asarray(image)
    if values.dtype.kind not in "iu" or values.min() < 0 or values.max() > 0xFFFF:
        raise ValueError(
            f"its values, {values.dtype} up to {values.max()}, are not of 8 or 16 bits"
        )
    return np.repeat((values >> 8).astype(np.uint8)[..., None], 3, axis=-1)
