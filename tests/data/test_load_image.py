"""Every kind of image that a folder may hold: read right, or refused by name; never replaced."""

from __future__ import annotations

import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from semaim_mm.data import LoadImage
from semaim_mm.data.load_crop import LoadCrop
from semaim_mm.errors import UnreadableImageError


def load(path):
    return LoadImage().transform(dict(img_path=str(path)))["img"]


def ramp(dtype, height=4, width=256):
    """Grey values from black to white, one step a column."""
    values = np.linspace(0, np.iinfo(dtype).max, width).round().astype(dtype)
    return np.tile(values, (height, 1))


@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.pgm", "A.PNG"])
def test_sixteen_bit_grey_keeps_its_upper_byte(name, tmp_path):
    Image.fromarray(ramp(np.uint16)).save(tmp_path / name)
    image = load(tmp_path / name)
    assert image.shape == (4, 256, 3) and image.dtype == np.uint8
    assert np.array_equal(image[..., 0], ramp(np.uint16) >> 8)
    assert np.array_equal(image[..., 1], image[..., 0])
    assert np.array_equal(image[..., 2], image[..., 0])
    crop = LoadCrop((4, 256), crop_ratio_range=(1.0, 1.0), aspect_ratio_range=(64, 64))
    cut = crop.transform(dict(img_path=str(tmp_path / name)))["img"]
    assert np.array_equal(cut, image)


def test_sixteen_bit_colour_is_read_as_eight(tmp_path):
    pixels = np.stack([ramp(np.uint16), ramp(np.uint16)[:, ::-1], ramp(np.uint16)], -1)
    (tmp_path / "a.png").write_bytes(png(pixels))
    assert np.abs(load(tmp_path / "a.png")[..., ::-1].astype(int) - (pixels >> 8)).max() <= 1


def test_cmyk_is_the_colour_that_pillow_makes_of_it(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    Image.fromarray(pixels).convert("CMYK").save(tmp_path / "a.jpg", quality=100, subsampling=0)
    assert np.abs(load(tmp_path / "a.jpg")[..., ::-1].astype(int) - pixels).max() < 30


@pytest.mark.parametrize("suffix", ["png", "webp", "tif"])
def test_of_an_animation_the_first_frame_is_read(suffix, tmp_path):
    frames = [Image.new("RGB", (10, 6), colour) for colour in ("red", "lime", "blue")]
    options = dict(lossless=True) if suffix == "webp" else {}
    frames[0].save(tmp_path / f"a.{suffix}", save_all=True, append_images=frames[1:], **options)
    assert load(tmp_path / f"a.{suffix}")[3, 3].tolist() == [0, 0, 255]


def test_one_pixel_is_an_image(tmp_path):
    Image.new("RGB", (1, 1), (1, 2, 3)).save(tmp_path / "a.png")
    assert load(tmp_path / "a.png").tolist() == [[[3, 2, 1]]]


def test_twenty_thousand_pixels_a_side_are_read_and_a_bomb_is_refused(tmp_path):
    Image.new("L", (20_000, 500), 7).save(tmp_path / "wide.png")
    assert load(tmp_path / "wide.png").shape == (500, 20_000, 3)
    # a few hundred bytes that promise 10 gigapixels
    (tmp_path / "bomb.png").write_bytes(png(np.zeros((1, 1, 3), np.uint8), claimed=(100_000,) * 2))
    with pytest.raises(UnreadableImageError, match=r"bomb\.png can't be read .*bomb"):
        load(tmp_path / "bomb.png")


def test_values_that_are_no_pictures_are_refused(tmp_path):
    Image.fromarray(np.full((3, 3), 1e6, np.float32)).save(tmp_path / "a.tif")
    with pytest.raises(UnreadableImageError, match="not of 8 or 16 bits"):
        load(tmp_path / "a.tif")


def png(pixels: np.ndarray, claimed: tuple[int, int] | None = None) -> bytes:
    """A PNG file of 8- or 16-bit colours, written chunk by chunk; ``claimed``: a false size."""
    height, width = claimed or pixels.shape[:2]
    depth = 8 * pixels.dtype.itemsize
    rows = pixels.astype(f">u{pixels.dtype.itemsize}")
    data = zlib.compress(b"".join(b"\0" + row.tobytes() for row in rows))
    head = struct.pack(">IIBBBBB", width, height, depth, 2, 0, 0, 0)
    chunks = ((b"IHDR", head), (b"IDAT", data), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        for kind, body in chunks
    )
