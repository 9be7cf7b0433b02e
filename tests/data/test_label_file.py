"""Label files: a wrong line is named before training."""

import pytest
from conftest import write_images

from semaim_mm.data import ImageFolder
from semaim_mm.errors import InputError


def dataset(tmp_path, text: str, **options):
    write_images(tmp_path / "images", 3)
    (tmp_path / "labels.txt").write_text(text)
    return ImageFolder(
        str(tmp_path),
        "images",
        with_label=True,
        ann_file="labels.txt",
        classes=["a", "b"],
        **options,
    )


def test_a_good_file_gives_its_labels(tmp_path):
    found = dataset(tmp_path, "000.png 1\n002.png 0\n")
    assert [found.get_data_info(i)["gt_label"] for i in range(2)] == [1, 0]


@pytest.mark.parametrize(
    "text, words",
    [
        ("000.png 1\n001.png\n", "Line 2 .* is not an image name, a space and a label"),
        ("000.png one\n", "Line 1 .* is not an image name"),
        ("000.png -1\n", "Line 1 .* is not an image name"),
        ("000.png 2\n", "Line 1 .* has label 2, but there are 2 classes"),
        ("009.png 1\n", "Line 1 .* names 009.png, which is not in"),
        ("000.png 1\n000.png 0\n", "Line 2 .* again, after line 1"),
        ("", "is empty"),
    ],
)
def test_a_wrong_line_is_named(tmp_path, text, words):
    with pytest.raises(InputError, match=words):
        dataset(tmp_path, text)


def test_a_missing_label_file_is_named(tmp_path):
    write_images(tmp_path / "images", 1)
    with pytest.raises(InputError, match="no label file"):
        ImageFolder(str(tmp_path), "images", with_label=True, ann_file="labels.txt")
