"""Reading a random crop of an image at its final size, without the whole image as an array."""

import io
from collections.abc import Sequence
from pathlib import Path

import mmengine.fileio
import numpy as np
import torch
import torch.nn.functional as F
from mmengine.registry import TRANSFORMS
from mmpretrain.datasets.transforms import RandomResizedCrop
from PIL import Image, ImageOps
from torchvision.io import ImageReadMode, decode_jpeg

from semaim_mm.data.load_image import is_deep, naming_unreadable, upper_byte

FILTERS = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}
RGB = ImageReadMode.RGB
ORIENTATION = 0x0112  # EXIF tag
CANVAS = (124, 117, 104)  # what mmcv lays behind grey images with transparency


@TRANSFORMS.register_module()
class LoadCrop(RandomResizedCrop):
    """LoadImage and RandomResizedCrop (Pillow) in one, from the same draws: 8-bit BGR, (H, W, 3).

    The crop is drawn from the file's header, and only the crop is resized and copied. JPEGs go
    through libjpeg-turbo and torch's vectorised antialiased resize, within 2 levels of 255 of
    Pillow's where they are decoded whole; other files, and turned or CMYK ones, through Pillow,
    with its bits.

    Args:
        scale: side of the result, or (height, width).
        interpolation: 'bicubic' or 'bilinear'.
        reducing_gap: let libjpeg decode at 1/2, 1/4 or 1/8 where what is left of the crop is at
            least this many times the result in both directions; None never. At 2, JPEGs that are
            more than four times the result are concerned, and differ by interpolation alone.
        **kwargs: those of mmpretrain's RandomResizedCrop.

    Raises:
        UnreadableImageError: the file can't be decoded; its path is named.
    """

    def __init__(
        self,
        scale: int | Sequence[int],
        interpolation: str = "bicubic",
        reducing_gap: float | None = 2.0,
        **kwargs,
    ):
        super().__init__(scale=scale, interpolation=interpolation, backend="pillow", **kwargs)
        self.filter, self.reducing_gap = FILTERS[interpolation], reducing_gap

    def transform(self, results: dict) -> dict:
        """``img_path``, or a file's content as ``img_bytes`` -> ``img`` and its shapes."""
        with naming_unreadable(results):
            content = results.pop("img_bytes", None)
            if content is None:
                path = results["img_path"]
                local = "://" not in str(path)
                content = Path(path).read_bytes() if local else mmengine.fileio.get(path)
            image = self.cut(content, results)
        results["img"] = image[:, :, ::-1]  # PackInputs copies it in order
        results["img_shape"] = results["img"].shape[:2]
        return results

    def cut(self, content: bytes, results: dict) -> np.ndarray:
        """A file's content -> the resized crop, RGB (H, W, 3); sets ``ori_shape``."""
        image = Image.open(io.BytesIO(content))  # reads the header alone
        turned = image.getexif().get(ORIENTATION, 1) != 1
        plain = image.format == "JPEG" and image.mode in ("RGB", "L") and not turned
        if turned:
            image = ImageOps.exif_transpose(image)
        width, height = image.size
        results["ori_shape"] = (height, width)
        # a stand-in of the right shape: what is drawn depends on nothing else
        shape_alone = np.broadcast_to(np.uint8(0), (height, width, 3))
        top, left, rows, columns = self.rand_crop_params(shape_alone)
        box = (left, top, left + columns, top + rows)
        target = (self.scale[1], self.scale[0])
        factor = self.reduction(rows, columns)
        if plain and factor > 1:
            image.draft("RGB", (-(-width // factor), -(-height // factor)))
            across, down = image.width / width, image.height / height
            box = (box[0] * across, box[1] * down, box[2] * across, box[3] * down)
            return np.asarray(as_rgb(image).resize(target, self.filter, box=box))
        if plain and (pixels := decoded(content)) is not None:
            crop = pixels[None, :, top : top + rows, left : left + columns]
            resized = F.interpolate(crop, self.scale, mode=self.interpolation, antialias=True)
            return resized[0].permute(1, 2, 0).numpy()
        return np.asarray(as_rgb(image).crop(box).resize(target, self.filter))

    def reduction(self, rows: int, columns: int) -> int:
        """A crop's size in pixels -> by how much libjpeg may reduce it: 1, 2, 4 or 8."""
        if self.reducing_gap is None:
            return 1
        spare = min(rows / self.scale[0], columns / self.scale[1]) / self.reducing_gap
        return next((factor for factor in (8, 4, 2) if spare >= factor), 1)


def decoded(content: bytes) -> torch.Tensor | None:
    """A JPEG -> RGB (3, H, W), uint8; None where torchvision can't, for Pillow to say why."""
    try:
        return decode_jpeg(torch.frombuffer(bytearray(content), dtype=torch.uint8), RGB)
    except RuntimeError:
        return None


def as_rgb(image: Image.Image) -> Image.Image:
    """Any image -> RGB, as LoadImage converts it."""
    if is_deep(image):
        image = upper_byte(image)
    if image.mode == "RGB":
        return image
    if image.mode != "LA":
        return image.convert("RGB")
    opaque = image.convert("RGBA")
    canvas = Image.new("RGB", opaque.size, CANVAS)
    canvas.paste(opaque, mask=opaque.getchannel("A"))
    return canvas
