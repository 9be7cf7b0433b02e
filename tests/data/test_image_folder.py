"""A folder of images: every fault is named, with the path, before training."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from semaim_mm.data import ImageFolder, LoadImage
from semaim_mm.errors import InputError


@pytest.fixture
def root(tmp_path, make_images) -> Path:
    """Two class folders of two images."""
    for number, name in enumerate(("dog", "cat")):
        make_images(tmp_path / "train" / name, 2, seed=number)
    return tmp_path


def paths(dataset: ImageFolder, root: Path) -> list[str]:
    infos = [dataset.get_data_info(index) for index in range(len(dataset))]
    return [str(Path(info["img_path"]).relative_to(root)) for info in infos]


def test_without_labels_all_images_below_are_found_sorted(root, make_images):
    make_images(root / "train", 1)
    make_images(root / "train" / "dog" / "puppies", 1)
    dataset = ImageFolder(data_root=str(root), split="train")
    assert paths(dataset, root / "train") == [
        "000.png",
        "cat/000.png",
        "cat/001.png",
        "dog/000.png",
        "dog/001.png",
        "dog/puppies/000.png",
    ]
    assert dataset.get_data_info(0).get("gt_label") is None


def test_with_labels_the_sorted_folders_are_the_classes(root, make_images):
    make_images(root / "train" / "dog" / "puppies", 1)
    dataset = ImageFolder(data_root=str(root), split="train", with_label=True)
    assert dataset.metainfo["classes"] == ("cat", "dog")
    labels = [int(dataset.get_data_info(index)["gt_label"]) for index in range(len(dataset))]
    assert labels == [0, 0, 1, 1, 1]


def test_configured_classes_keep_their_order(root):
    dataset = ImageFolder(str(root), "train", with_label=True, classes=["dog", "cat"])
    assert dataset.metainfo["classes"] == ("dog", "cat")
    found = dict(zip(paths(dataset, root / "train"), [1, 1, 0, 0], strict=True))
    for index in range(len(dataset)):
        info = dataset.get_data_info(index)
        assert info["gt_label"] == found[str(Path(info["img_path"]).relative_to(root / "train"))]


@pytest.mark.parametrize("suffix", ["jpg", "JPEG", "png", "webp", "bmp", "tif", "ppm"])
def test_every_usual_format_is_read(suffix, tmp_path):
    pixels = np.zeros((8, 8, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / f"image.{suffix}")
    dataset = ImageFolder(str(tmp_path), pipeline=[dict(type="LoadImage")])
    assert dataset[0]["img"].shape == (8, 8, 3)


def test_a_missing_folder_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"no image folder at .*nowhere/train; put the images"):
        ImageFolder(data_root=str(tmp_path / "nowhere"), split="train")


def test_a_file_in_place_of_the_folder_is_refused(tmp_path):
    (tmp_path / "train").write_text("")
    with pytest.raises(InputError, match="no image folder at"):
        ImageFolder(data_root=str(tmp_path), split="train")


@pytest.mark.parametrize("names", [[], [".DS_Store"]])
def test_a_folder_without_images_is_refused(names, tmp_path):
    for name in names:
        (tmp_path / name).write_text("")
    with pytest.raises(InputError, match=f"{tmp_path} holds no image"):
        ImageFolder(data_root=str(tmp_path))


def test_a_file_that_is_no_image_is_refused_by_name(root):
    (root / "train" / "cat" / "notes.txt").write_text("")
    with pytest.raises(InputError, match=r"1 files that are no images \(cat/notes.txt\)"):
        ImageFolder(data_root=str(root), split="train")


def test_of_many_strangers_three_are_named(root):
    for number in range(5):
        (root / "train" / f"{number}.csv").write_text("")
    with pytest.raises(InputError, match=r"5 files .* \(0.csv, 1.csv, 2.csv, \.\.\.\)"):
        ImageFolder(data_root=str(root), split="train")


def test_files_to_skip_are_passed_over(root):
    (root / "train" / "cat" / "notes.txt").write_text("")
    (root / "train" / ".hidden").write_text("")
    dataset = ImageFolder(str(root), "train", skip_files=("*.txt", ".*"))
    assert len(dataset) == 4


def test_an_empty_class_folder_is_refused(root):
    (root / "train" / "mouse").mkdir()
    with pytest.raises(InputError, match="empty class folders: mouse; fill or remove them"):
        ImageFolder(data_root=str(root), split="train", with_label=True)


def test_images_beside_class_folders_are_refused(root, make_images):
    make_images(root / "train", 1)
    with pytest.raises(InputError, match=r"1 images lie beside them \(000.png\)"):
        ImageFolder(data_root=str(root), split="train", with_label=True)


def test_configured_classes_that_the_folders_are_not_are_refused(root):
    with pytest.raises(InputError, match=r"a folder \['mouse'\], not configured \['dog'\]"):
        ImageFolder(str(root), "train", with_label=True, classes=["cat", "mouse"])


CORRUPT = {
    "cut png": lambda data: data[: len(data) // 2],
    "cut header": lambda data: data[:10],
    "empty": lambda data: b"",
    "text": lambda data: b"not an image at all",
    "broken png chunk": lambda data: data[:33] + b"\x00" * 20 + data[53:],
}


@pytest.mark.parametrize("kind", CORRUPT)
def test_an_image_that_can_not_be_decoded_is_refused_with_its_path(kind, root):
    path = root / "train" / "cat" / "001.png"
    path.write_bytes(CORRUPT[kind](path.read_bytes()))
    dataset = ImageFolder(str(root), "train", pipeline=[dict(type="LoadImage")])
    assert dataset[0]["img"].shape == (24, 24, 3)
    with pytest.raises(InputError, match=rf"image {path} can't be read .*; replace or remove it"):
        dataset[1]


def test_a_cut_jpeg_is_refused_with_its_path(tmp_path):
    path = tmp_path / "image.jpg"
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(noise).save(path)
    path.write_bytes(path.read_bytes()[:-500])
    with pytest.raises(InputError, match=f"image {path} can't be read"):
        LoadImage().transform(dict(img_path=str(path)))


@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA", "P", "CMYK", "1"])
def test_every_colour_mode_becomes_three_channels_of_eight_bits(mode, tmp_path):
    path = tmp_path / "image.tif"
    pixels = np.full((6, 9, 3), (200, 100, 50), np.uint8)
    Image.fromarray(pixels).convert(mode).save(path)
    image = LoadImage().transform(dict(img_path=str(path)))["img"]
    assert image.shape == (6, 9, 3)
    assert image.dtype == np.uint8
    if mode in ("RGB", "RGBA"):
        assert image[0, 0].tolist() == [50, 100, 200], "channels are blue, green, red"
