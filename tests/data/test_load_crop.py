"""LoadCrop gives what LoadImage and RandomResizedCrop give, without the whole image as an array."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from mmcv.transforms import Compose
from PIL import Image

from semaim_mm.bench.loader import stock_pipeline, write_jpegs
from semaim_mm.data import LoadCrop
from semaim_mm.data.keyed import seeded
from semaim_mm.errors import UnreadableImageError

RATIO = (0.2, 1.0)


def two_steps(scale: int | tuple[int, int]) -> Compose:
    crop = dict(type="RandomResizedCrop", scale=scale, crop_ratio_range=RATIO)
    crop |= dict(backend="pillow", interpolation="bicubic")
    return Compose([dict(type="LoadImage"), crop])


def both(path: Path, scale: int | tuple[int, int], draw: int, **options) -> list[dict]:
    """The sample by one transform and by two, under the same draws."""
    found = []
    for transform in (LoadCrop(scale, crop_ratio_range=RATIO, **options), two_steps(scale)):
        with seeded(0, 0, draw):
            found.append(transform(dict(img_path=str(path))))
    return found


def assert_near(ours: np.ndarray, theirs: np.ndarray) -> None:
    """At most two of 255 levels apart, and mostly none."""
    difference = np.abs(ours.astype(int) - theirs)
    assert difference.max() <= 2 and difference.mean() < 0.25


@pytest.fixture(scope="module")
def photo(tmp_path_factory) -> Path:
    """A JPEG of 500 x 375 pixels with detail at all scales."""
    folder = tmp_path_factory.mktemp("photo")
    write_jpegs(folder, 1)
    return folder / "00000.jpg"


@pytest.mark.parametrize("scale", [224, (64, 96)])
def test_a_500_pixel_jpeg_gives_the_two_transforms_pixels_within_two_levels(photo, scale):
    for draw in range(8):
        ours, theirs = both(photo, scale, draw, reducing_gap=None)
        assert_near(ours["img"], theirs["img"])
        assert ours["img_shape"] == theirs["img_shape"][:2]
        assert ours["ori_shape"] == theirs["ori_shape"] == (375, 500)


@pytest.mark.parametrize("mode", ["L", "LA", "P", "RGBA", "CMYK", "I;16"])
def test_every_kind_of_pixel_is_converted_as_mmcv_does(tmp_path, mode):
    pixels = np.random.default_rng(0).integers(0, 256, (40, 30, 4), dtype=np.uint8)
    image = Image.fromarray(pixels, "RGBA")
    path = tmp_path / f"image.{'tif' if mode == 'CMYK' else 'png'}"
    if mode == "I;16":
        Image.fromarray(pixels[..., 0].astype(np.uint16) * 200).save(path)
    elif mode == "LA":
        Image.merge("LA", image.split()[2:]).save(path)
    else:
        (image if mode == "RGBA" else image.convert("RGB").convert(mode)).save(path)
    for draw in range(3):
        ours, theirs = both(path, 16, draw)
        assert np.array_equal(ours["img"], theirs["img"])


def test_a_turned_camera_is_turned_back_before_the_crop(photo, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.open(photo).save(tmp_path / "turned.jpg", exif=exif)
    ours, theirs = both(tmp_path / "turned.jpg", 64, 1, reducing_gap=None)
    assert ours["ori_shape"] == theirs["ori_shape"] == (500, 375)
    assert np.array_equal(ours["img"], theirs["img"])


def test_a_large_jpeg_is_decoded_small_and_differs_by_interpolation_alone(photo, tmp_path):
    whole = Image.open(photo).resize((1000, 750), Image.Resampling.BICUBIC)
    whole.save(tmp_path / "large.jpg", quality=95)
    reduced = 0
    for draw in range(8):
        ours, theirs = both(tmp_path / "large.jpg", 64, draw)
        difference = np.abs(ours["img"].astype(int) - theirs["img"])
        reduced += bool(difference.any())
        assert difference.mean() < 1 and difference.max() <= 12
    assert reduced


def test_how_far_a_decoder_may_reduce_follows_the_crop_and_the_gap():
    crop = LoadCrop(100, reducing_gap=2.0)
    assert [crop.reduction(*size) for size in ((399, 900), (400, 900), (799, 800), (1e4, 1e4))] == [
        1,
        2,
        2,
        8,
    ]
    assert LoadCrop(100, reducing_gap=None).reduction(10_000, 10_000) == 1


@pytest.mark.parametrize(("mode", "exact"), [("L", False), ("CMYK", True)])
def test_a_jpeg_without_three_colours_is_converted_too(photo, tmp_path, mode, exact):
    Image.open(photo).convert(mode).save(tmp_path / "other.jpg")
    ours, theirs = both(tmp_path / "other.jpg", 64, 1, reducing_gap=None)
    assert_near(ours["img"], theirs["img"])
    assert np.array_equal(ours["img"], theirs["img"]) or not exact


def test_the_stock_pipeline_differs_by_its_decoder_alone(photo):
    stock = Compose(stock_pipeline()[:2])
    for draw in range(8):
        with seeded(0, 0, draw):
            theirs = stock(dict(img_path=str(photo)))["img"]
        ours, _ = both(photo, 224, draw)
        assert_near(ours["img"], theirs)


def test_a_files_content_is_taken_where_the_sample_has_it(photo):
    with seeded(0, 0, 1):
        held = LoadCrop(32)(dict(img_path="shard.tar/a.jpg", img_bytes=photo.read_bytes()))
    with seeded(0, 0, 1):
        read = LoadCrop(32)(dict(img_path=str(photo)))
    assert np.array_equal(held["img"], read["img"]) and "img_bytes" not in held


@pytest.mark.parametrize("content", [b"", b"no image", "cut"])
def test_an_image_that_can_not_be_decoded_is_named(photo, tmp_path, content):
    path = tmp_path / "broken.jpg"
    path.write_bytes(photo.read_bytes()[:9000] if content == "cut" else content)
    with pytest.raises(UnreadableImageError, match=r"broken\.jpg can't be read"):
        LoadCrop(32)(dict(img_path=str(path)))


def test_draws_are_the_two_transforms_whatever_the_file_holds(tmp_path):
    stream = io.BytesIO()
    Image.new("RGB", (9, 400)).save(stream, "PNG")  # no crop of the asked shape fits: the centre
    (tmp_path / "thin.png").write_bytes(stream.getvalue())
    ours, theirs = both(tmp_path / "thin.png", 8, 0)
    assert np.array_equal(ours["img"], theirs["img"])
