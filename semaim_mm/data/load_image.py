"""Reading one image, the path named when it fails."""

import struct
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO

import cv2
import mmcv
import numpy as np
from mmcv.transforms import LoadImageFromFile
from mmengine import fileio
from mmengine.registry import TRANSFORMS
from PIL import Image

from semaim_mm.errors import UnreadableImageError

# formats that may hold grey values of more than 8 bits, which Pillow would clip to white
DEEP = (".png", ".pgm", ".tif", ".tiff")


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

    Reads ``img_path``, or a file's content where the sample has it as ``img_bytes``. Of an
    animation the first frame is read, of 16-bit grey the upper byte; CMYK, palettes and
    transparency become colours as Pillow makes them. The limit is Pillow's, 178,956,970 pixels.

    Raises UnreadableImageError with the path where the file can't be decoded.
    """

    def __init__(self, imdecode_backend: str = "pillow", **kwargs):
        super().__init__(imdecode_backend=imdecode_backend, **kwargs)

    def transform(self, results: dict) -> dict | None:
        with naming_unreadable(results):
            content, path = results.pop("img_bytes", None), results["img_path"]
            deep = str(path).lower().endswith(DEEP)
            if content is None and not deep:
                return super().transform(results)
            if content is None:
                content = fileio.get(path, backend_args=self.backend_args)
            image = self._grey(content) if deep else None
            if image is None:
                image = mmcv.imfrombytes(content, self.color_type, backend=self.imdecode_backend)
            results["img"] = image.astype(np.float32) if self.to_float32 else image
            results["img_shape"] = results["ori_shape"] = image.shape[:2]
            return results

    @staticmethod
    def _grey(content: bytes) -> np.ndarray | None:
        """A file of more than 8 bits -> grey (H, W, 3); None for any other."""
        with Image.open(BytesIO(content)) as image:
            return np.array(upper_byte(image).convert("RGB")) if is_deep(image) else None


def is_deep(image: Image.Image) -> bool:
    """Whether an image has grey values of more than 8 bits."""
    return image.mode.startswith(("I", "F"))


def upper_byte(image: Image.Image) -> Image.Image:
    """An image of 16-bit grey values -> their upper bytes, mode L.

    Raises ValueError for values that are no picture's: of 32 bits or floating point.
    """
    values = np.asarray(image)
    if values.dtype.kind not in "iu" or values.min() < 0 or values.max() > 0xFFFF:
        raise ValueError(
            f"its values, {values.dtype} up to {values.max()}, are not of 8 or 16 bits"
        )
    return Image.fromarray((values >> 8).astype(np.uint8))
