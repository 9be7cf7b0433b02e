"""What prepare_data.py says of each kind of data set: every fault by name, count and mending."""

import json
import re

import numpy as np
import pytest
from dense_data import write_ade, write_coco
from PIL import Image
from prepare_sets import write_file, write_folder, write_imagenet

from semaim_mm.data.prepare import ade20k, coco, imagenet, prepare
from semaim_mm.errors import InputError


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def set_of_one_a_class(monkeypatch):
    """ImageNet's published counts, were there one image a class."""
    monkeypatch.setattr(imagenet, "IMAGES", dict(train=1000, val=1000))
    monkeypatch.setattr(imagenet, "PER_CLASS", dict(train=(1, 1), val=(1, 1)))


def said(kind, root, partial=False):
    with pytest.raises(InputError) as error:
        prepare(kind, root, partial, say=lambda line: None)
    assert not (root / "manifest.json").exists()
    return str(error.value)


def read(root):
    return json.loads((root / "manifest.json").read_text())


def done(kind, root, partial=False):
    return prepare(kind, root, partial, say=lambda line: None)


class TestImagenet:
    def test_a_whole_set_has_a_manifest_without_differences(self, tmp_path, set_of_one_a_class):
        assert done("imagenet", write_imagenet(tmp_path / "set")).warnings == []
        manifest = read(tmp_path / "set")
        assert manifest["as_published"] is True and manifest["differences"] == []
        assert manifest["splits"]["val"] == dict(images=1000, classes=1000, bytes=6000)
        assert manifest["counts"]["train/n01440764"] == 1

    def test_the_published_counts_are_those_of_the_paper(self):
        assert dict(train=1_281_167, val=50_000) == imagenet.IMAGES
        assert dict(train=(732, 1300), val=(50, 50)) == imagenet.PER_CLASS

    def test_each_fault_is_named_with_its_count(self, tmp_path, set_of_one_a_class):
        root = write_imagenet(tmp_path / "set")
        (root / "val/n01440764/ILSVRC2012_val_00000001.JPEG").unlink()
        write_file(root / "val/n01443537/ILSVRC2012_val_00000002.JPEG", b"")
        write_file(root / "val/n01443537/ILSVRC2012_val_00000003.JPEG")
        write_file(root / "val/n01443537/notes.txt")
        write_file(root / "val/n00000000/ILSVRC2012_val_00001000_copy.JPEG")
        (root / "train/n01440764/n01440764_1.JPEG").rename(
            root / "train/n01443537/n01440764_1.JPEG"
        )
        (root / "train/n01484850/n01484850_3.JPEG").unlink()
        (root / "train/n01484850/n01484850_3.JPEG").symlink_to(tmp_path / "nowhere")
        text = said("imagenet", root)
        for line in (
            "files of size 0, which can't be read: 1 (val/n01443537/ILSVRC2012_val_00000002.JPEG)",
            "broken links, or folders that may not be read: 1 (train/n01484850/n01484850_3.JPEG)",
            "of another kind than their folder's: 1 (val/n01443537/notes.txt)",
            "train: class folders without an image: 2 (n01440764, n01484850)",
            "val: class folders without an image: 1 (n01440764)",
            "classes of val that train has no folder of: 1 (n00000000)",
            "val: extra folders, of no class of ImageNet-1K: 1 (n00000000)",
            "train: images: 999 instead of 1,000",
            "train: classes of another size than 1 images: 1 (n01443537 2)",
            "another class than their folder: 1 (train/n01443537/n01440764_1",
            "val: missing images: 1 (ILSVRC2012_val_00000001.JPEG)",
            "val: extra images, of no published name: 1 (val/n00000000/ILSVRC2012_val_00001000_",
            "val: images that lie in several class folders: 1 (ILSVRC2012_val_00000003.JPEG)",
        ):
            assert line in text, line

    def test_a_flat_val_folder_is_told_what_to_do(self, tmp_path, set_of_one_a_class):
        root = write_imagenet(tmp_path / "set", classes=3)
        for path in sorted((root / "val").glob("*/*")):
            path.rename(root / "val" / path.name)
            path.parent.rmdir()
        text = said("imagenet", root, partial=True)
        assert "val: images beside the class folders: 3" in text and "development kit" in text

    def test_a_part_is_an_error_unless_it_is_meant_and_then_recorded(self, tmp_path):
        root = write_imagenet(tmp_path / "set", classes=3)
        text = said("imagenet", root)
        assert "train: images: 3 instead of 1,281,167" in text
        assert "train: missing class folders: 997" in text and "--partial lets this pass" in text
        warnings = done("imagenet", root, partial=True).warnings
        manifest = read(root)
        assert manifest["as_published"] is False
        assert manifest["differences"] == [finding.text for finding in warnings]
        assert "val: images: 3 instead of 50,000" in manifest["differences"]

    def test_val_alone_is_a_part(self, tmp_path):
        root = write_imagenet(tmp_path / "set", classes=3)
        (root / "train").rename(tmp_path / "train")
        done("imagenet", root, partial=True)
        assert "missing folders: 1 (train)" in read(root)["differences"]

    def test_a_part_may_not_hide_a_fault(self, tmp_path):
        root = write_imagenet(tmp_path / "set", classes=3)
        write_file(root / "val/n01440764/ILSVRC2012_val_00000001.JPEG", b"")
        text = said("imagenet", root, partial=True)
        assert "size 0" in text and "instead of" not in text and "--partial" not in text


class TestImagefolder:
    def test_train_and_val_are_counted(self, tmp_path):
        done("imagefolder", write_folder(tmp_path / "set"))
        splits = read(tmp_path / "set")["splits"]
        assert (splits["train"]["images"], splits["val"]["classes"]) == (8, 2)

    def test_classes_that_one_split_lacks_are_named(self, tmp_path):
        root = write_folder(tmp_path / "set")
        write_file(root / "val/horse/0.jpg")
        assert "classes of val that train has no folder of: 1 (horse)" in said("imagefolder", root)

    def test_an_empty_class_is_named(self, tmp_path):
        root = write_folder(tmp_path / "set")
        for split in ("train", "val"):
            (root / split / "horse").mkdir()
        text = said("imagefolder", root)
        assert "train: class folders without an image: 1 (horse)" in text

    def test_images_beside_the_classes_are_named(self, tmp_path):
        root = write_folder(tmp_path / "set")
        write_file(root / "train/loose.png")
        assert "train: images beside the class folders: 1 (train/loose.png)" in said(
            "imagefolder", root
        )

    def test_a_missing_val_is_a_warning_that_the_manifest_keeps(self, tmp_path):
        write_folder(tmp_path / "set", val=0)
        (warning,) = done("imagefolder", tmp_path / "set").warnings
        assert (
            read(tmp_path / "set")["differences"] == [warning.text] == ["missing folders: 1 (val)"]
        )
        assert read(tmp_path / "set")["as_published"] is None

    def test_images_without_labels_are_a_set_for_pretraining(self, tmp_path):
        for number in range(3):
            write_file(tmp_path / "set/train" / f"{number}.jpg")
        done("imagefolder", tmp_path / "set")
        assert read(tmp_path / "set")["splits"]["train"] == dict(images=3, classes=0, bytes=18)

    def test_two_splits_without_labels_are_one_too(self, tmp_path):
        for split in ("train", "val"):
            write_file(tmp_path / "set" / split / "0.jpg")
        done("imagefolder", tmp_path / "set")
        assert read(tmp_path / "set")["splits"]["val"]["classes"] == 0

    def test_a_folder_of_classes_needs_no_splits_and_takes_its_own_manifest_for_no_stranger(
        self, tmp_path
    ):
        root = write_folder(tmp_path)
        done("imagefolder", root / "train")
        first = (root / "train/manifest.json").read_bytes()
        done("imagefolder", root / "train")
        assert (root / "train/manifest.json").read_bytes() == first
        assert read(root / "train")["splits"][""]["classes"] == 2

    def test_a_linked_folder_counts_and_one_that_never_ends_is_named(self, tmp_path):
        root = write_folder(tmp_path / "set")
        (root / "train/cat").rename(tmp_path / "elsewhere")
        (root / "train/cat").symlink_to(tmp_path / "elsewhere")
        done("imagefolder", root)
        assert read(root)["counts"]["train/cat"] == 4
        (root / "manifest.json").unlink()
        (root / "train/cat/again").symlink_to(root / "train")
        assert "would never end: 1 (train/cat/again)" in said("imagefolder", root)

    def test_a_wrong_path_and_a_folder_without_images_are_sentences(self, tmp_path):
        assert "There is no folder" in said("imagefolder", tmp_path / "nothing")
        assert "holds no files of imagefolder" in said("imagefolder", tmp_path)

    def test_a_read_only_folder_is_told_before_anything_is_hashed(self, tmp_path, monkeypatch):
        root = write_folder(tmp_path / "set")
        monkeypatch.setattr("os.access", lambda path, mode: False)
        assert "make a folder of your own that holds links" in said("imagefolder", root)

    def test_the_shipped_sample_keeps_its_own_manifest(self, tmp_path):
        root = write_folder(tmp_path / "sample/cls")
        (tmp_path / "sample/manifest.json").write_text('{"name": "semaim-sample"}')
        assert "nothing to prepare" in said("imagefolder", root)


class TestCoco:
    @pytest.fixture
    def root(self, tmp_path, monkeypatch):
        """Two images a split, four annotations, three categories; called published."""
        names = ["animal", "food", "vehicle"]
        root = write_coco(tmp_path / "coco set", names, folders=("train2017", "val2017"))
        monkeypatch.setattr(coco, "IMAGES", dict(train2017=2, val2017=2))
        monkeypatch.setattr(coco, "ANNOTATIONS", dict(train2017=4, val2017=4))
        monkeypatch.setattr(coco, "CATEGORIES", 3)
        return root

    def test_the_published_counts(self):
        assert dict(train2017=118_287, val2017=5_000) == coco.IMAGES
        assert dict(train2017=860_001, val2017=36_781) == coco.ANNOTATIONS
        assert coco.CATEGORIES == 80

    def test_a_whole_set_is_counted_and_other_annotation_files_are_no_part_of_it(self, root):
        write_file(root / "annotations/captions_val2017.json", b"{}")
        done("coco", root)
        manifest = read(root)
        assert manifest["as_published"] and manifest["files"]["count"] == 6
        val = manifest["splits"]["val2017"]
        assert (val["images"], val["annotations"], val["categories"]) == (2, 4, 3)

    def test_missing_extra_and_miscounted_are_named(self, root):
        path = root / "annotations/instances_val2017.json"
        content = json.loads(path.read_text())
        content["annotations"].pop()
        content["categories"].pop()
        path.write_text(json.dumps(content))
        (root / "val2017/000000.jpg").rename(root / "val2017/other.jpg")
        (root / "annotations/instances_train2017.json").unlink()
        text = said("coco", root)
        for line in (
            "instances_val2017.json: annotations: 3 instead of 4",
            "instances_val2017.json: categories: 2 instead of 3",
            "images that instances_val2017.json lists and the folder lacks: 1 (000000.jpg)",
            "extra images, which instances_val2017.json does not list: 1 (other.jpg)",
            "missing annotation files: 1 (annotations/instances_train2017.json)",
        ):
            assert line in text, line
        done("coco", root, partial=True)
        assert len(read(root)["differences"]) == 5

    def test_an_annotation_file_that_is_none_is_an_error_even_of_a_part(self, root):
        (root / "annotations/instances_val2017.json").write_text("{")
        assert "no readable JSON" in said("coco", root, partial=True)

    def test_an_annotation_file_of_size_0_is_named(self, root):
        (root / "annotations/instances_val2017.json").write_text("")
        text = said("coco", root, partial=True)
        assert "size 0, which can't be read: 1 (annotations/instances_val2017.json)" in text


class TestAde20k:
    @pytest.fixture
    def root(self, tmp_path, monkeypatch):
        """Two images a split by the published names; called published."""
        root = write_ade(tmp_path / "ade" / "ADEChallengeData2016", classes=4)
        for split, stem in ade20k.STEMS.items():
            for folder, suffix in (("images", "jpg"), ("annotations", "png")):
                for number in range(2):
                    path = root / folder / split / f"{number:06d}.{suffix}"
                    path.rename(path.with_name(f"{stem}_{number + 1:08d}.{suffix}"))
        monkeypatch.setattr(ade20k, "IMAGES", dict(training=2, validation=2))
        return root

    def test_the_published_counts(self):
        assert dict(training=20_210, validation=2_000) == ade20k.IMAGES
        assert ade20k.LABELS.allowed() == set(range(151))

    def test_the_folder_above_is_understood(self, root):
        write_file(root / "objectInfo150.txt")
        assert done("ade20k", root.parent).root == root
        manifest = read(root)
        assert manifest["as_published"] and manifest["files"]["count"] == 8
        assert manifest["splits"]["validation"]["label_maps"] == 2

    def test_missing_extra_and_broken_are_named(self, root):
        (root / "images/training/ADE_train_00000001.jpg").rename(root / "images/training/x.jpg")
        labels = np.full((96, 96), 151, np.uint8)
        Image.fromarray(labels).save(root / "annotations/validation/ADE_val_00000001.png")
        write_file(root / "annotations/validation/ADE_val_00000002.png", b"")
        text = said("ade20k", root)
        for line in (
            "images/training: missing images: 1 (ADE_train_00000001)",
            "images/training: extra images: 1 (x)",
            "training: images without a label map: 1 (x.jpg)",
            "training: label maps without an image: 1 (ADE_train_00000001.png)",
            "validation: label maps with values that are no class: 1 (ADE_val_00000001.png, 151)",
            "size 0, which can't be read: 1 (annotations/validation/ADE_val_00000002.png)",
        ):
            assert line in text, line
        # what is empty is told once, and the image of an empty label map has one
        assert not re.search("label maps that can't be read|validation: images without", text)

    def test_255_is_no_label_of_ade(self, root):
        labels = np.full((96, 96), 255, np.uint8)
        Image.fromarray(labels).save(root / "annotations/training/ADE_train_00000002.png")
        assert "no class: 1 (ADE_train_00000002.png, 255)" in said("ade20k", root, partial=True)

    def test_a_part_is_recorded(self, root, monkeypatch):
        monkeypatch.setattr(ade20k, "IMAGES", dict(training=3, validation=2))
        assert "images/training: images: 2 instead of 3" in said("ade20k", root)
        done("ade20k", root, partial=True)
        assert read(root)["differences"] == [
            "images/training: images: 2 instead of 3",
            "images/training: missing images: 1 (ADE_train_00000003)",
        ]
