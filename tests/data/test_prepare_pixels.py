"""What makes two image files the same image: size and RGB values, however they are encoded."""

import hashlib

import mmcv
import numpy as np
import pytest
from PIL import Image
from prepare_sets import write_file, write_pixels

from semaim_mm.data.prepare.pixels import pixel_hash
from semaim_mm.errors import UnreadableImageError


def test_a_jpeg_and_a_png_made_of_it_are_equal_and_one_encoded_anew_is_not(tmp_path):
    jpeg = write_pixels(tmp_path / "a.jpg", 0, quality=90)
    with Image.open(jpeg) as image:
        image.save(tmp_path / "b.png")
        image.save(tmp_path / "c.jpg", quality=50)
    hashes = [pixel_hash(tmp_path / name) for name in ("a.jpg", "b.png", "c.jpg")]
    assert hashes[0] == hashes[1] != hashes[2]


def test_exif_turns_the_pixels_as_the_loader_does(tmp_path):
    flat = write_pixels(tmp_path / "flat.png", 0)
    with Image.open(flat) as image:
        exif = Image.Exif()
        exif[0x0112] = 6  # to be turned by 90 degrees clockwise
        image.save(tmp_path / "tagged.png", exif=exif)
        image.transpose(Image.Transpose.ROTATE_270).save(tmp_path / "turned.png")
    hashes = {path.stem: pixel_hash(path) for path in tmp_path.glob("*.png")}
    assert hashes["tagged"] == hashes["turned"] != hashes["flat"]


def test_grey_palette_and_rgb_with_the_same_colours_are_equal(tmp_path):
    grey = Image.fromarray(np.arange(96, dtype=np.uint8).reshape(8, 12))
    grey.save(tmp_path / "grey.png")
    grey.convert("RGB").save(tmp_path / "rgb.png")
    grey.convert("P").save(tmp_path / "palette.png")
    assert len({pixel_hash(path) for path in tmp_path.glob("*.png")}) == 1


def test_equal_bytes_in_another_shape_differ(tmp_path):
    values = np.arange(96 * 3, dtype=np.uint8)
    for name, shape in (("wide", (8, 12, 3)), ("high", (12, 8, 3))):
        Image.fromarray(values.reshape(shape)).save(tmp_path / f"{name}.png")
    assert len({pixel_hash(path) for path in tmp_path.glob("*.png")}) == 2


def test_the_hash_is_of_size_and_rgb_values(tmp_path):
    path = write_pixels(tmp_path / "a.png", 0)
    rgb = mmcv.imfrombytes(path.read_bytes(), channel_order="rgb", backend="pillow")
    assert pixel_hash(path) == hashlib.sha256(b"8 12 " + rgb.tobytes()).digest()


def test_a_broken_image_is_an_error_with_its_name(tmp_path):
    with pytest.raises(UnreadableImageError, match="a.jpg"):
        pixel_hash(write_file(tmp_path / "a.jpg"))
