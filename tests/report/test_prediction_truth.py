"""Ground truth of a picture: of the test, validation or training set, as the files have it."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from mmdet.structures import DetDataSample
from mmengine.config import ConfigDict
from mmengine.structures import InstanceData
from PIL import Image
from torch import nn

import semaim_mm.dense  # noqa: F401  (registration)
from semaim_mm.report import prediction_data
from semaim_mm.report.prediction_data import KnownImages, Predictor, true_label_map, true_objects

CLASSES = ["bird", "boat"]
FLIP = dict(type="mmdet.RandomFlip", prob=1.0)


@pytest.fixture
def warnings(monkeypatch):
    """What is said in the log, line by line."""
    lines = []
    monkeypatch.setattr(prediction_data, "print_log", lambda line, *_: lines.append(line))
    return lines


def coco(root: Path, split: str, box: list[int], **changes) -> dict:
    """A set of two images, one of which has an object at ``box`` -> its config."""
    names = ["seen.png", "empty.png"]
    (root / split).mkdir()
    for name in names:
        Image.new("RGB", (40, 40)).save(root / split / name)
    one = dict(id=1, image_id=1, category_id=4, bbox=box, area=12, iscrowd=0)
    content = dict(
        images=[dict(id=n, file_name=name, width=40, height=40) for n, name in enumerate(names, 1)],
        annotations=[one | dict(segmentation=[[1, 2, 4, 2, 4, 6]])],
        categories=[dict(id=4, name="bird"), dict(id=9, name="boat")],
    )
    (root / f"{split}.json").write_text(json.dumps(content))
    data = dict(
        type="mmdet.CocoDataset",
        data_root=str(root),
        ann_file=f"{split}.json",
        data_prefix=dict(img=f"{split}/"),
        metainfo=dict(classes=tuple(CLASSES)),
        pipeline=[dict(type="mmdet.LoadAnnotations", with_bbox=True)],
    )
    return data | changes


def known(**sets) -> KnownImages:
    cfg = {f"{split}_dataloader": dict(batch_size=1, dataset=data) for split, data in sets.items()}
    return KnownImages(ConfigDict(cfg), CLASSES)


def boxes(info: dict) -> list:
    return true_objects(info, CLASSES).bboxes.tolist()


def test_each_set_is_looked_through_and_its_objects_are_where_the_file_has_them(tmp_path, warnings):
    test = coco(tmp_path, "test", [1, 1, 10, 10], test_mode=True)
    val = coco(tmp_path, "val", [2, 2, 10, 10], test_mode=True)
    train = coco(tmp_path, "train", [3, 3, 10, 10])
    train["pipeline"].append(FLIP)
    wrapped = dict(type="KeyedDataset", dataset=train)
    find = known(train=wrapped, val=val, test=test)
    for number, split in enumerate(("test", "val", "train"), 1):
        info = find(tmp_path / split / "seen.png")
        assert boxes(info) == [[number, number, number + 10, number + 10]]
    assert warnings == []


class Blind(nn.Module):
    """A detector that finds nothing."""

    def test_step(self, batch: dict) -> list[DetDataSample]:
        none = torch.zeros(0)
        found = InstanceData(bboxes=none.reshape(0, 4), scores=none, labels=none)
        return [DetDataSample(pred_instances=found)]


def test_a_training_image_is_drawn_beside_its_ground_truth(tmp_path, warnings):
    test = coco(tmp_path, "test", [1, 1, 10, 10])
    test["pipeline"] = [dict(type="mmdet.LoadImageFromFile"), dict(type="mmdet.PackDetInputs")]
    sets = dict(test=test, train=coco(tmp_path, "train", [3, 3, 10, 10]))
    cfg = {f"{split}_dataloader": dict(dataset=data) for split, data in sets.items()}
    draw = Predictor(ConfigDict(cfg), Blind(), "blind", tmp_path)
    assert draw(tmp_path / "train/seen.png").truth.bboxes.tolist() == [[3, 3, 13, 13]]
    assert warnings == []


def test_training_images_that_a_training_leaves_out_have_ground_truth_too(tmp_path, warnings):
    left_out = dict(filter_cfg=dict(filter_empty_gt=True), indices=1)
    find = known(
        test=coco(tmp_path, "test", [1, 1, 10, 10]),
        train=coco(tmp_path, "train", [3, 3, 10, 10], **left_out),
    )
    assert boxes(find(tmp_path / "train/empty.png")) == [] and warnings == []


def test_label_maps_of_a_training_set_are_as_the_file_has_them(tmp_path, warnings):
    (tmp_path / "maps").mkdir()
    (tmp_path / "images").mkdir()
    Image.new("RGB", (40, 40)).save(tmp_path / "images/a.png")
    labels = np.ones((40, 40), dtype=np.uint8)
    labels[:, :10] = 2
    Image.fromarray(labels).save(tmp_path / "maps/a.png")
    train = dict(
        type="CheckedLabelMaps",
        data_root=str(tmp_path),
        img_suffix=".png",
        data_prefix=dict(img_path="images", seg_map_path="maps"),
        metainfo=dict(classes=tuple(CLASSES)),
        reduce_zero_label=True,
        pipeline=[dict(type="mmseg.LoadAnnotations"), dict(type="mmseg.RandomFlip", prob=1.0)],
    )
    find = known(test=coco(tmp_path, "test", [1, 1, 10, 10]), train=train)
    truth = true_label_map(find(tmp_path / "images/a.png"), CLASSES)
    np.testing.assert_array_equal(truth.data[0], labels - 1)
    assert warnings == []


def test_a_set_is_opened_when_a_picture_asks_for_it_and_once(tmp_path, warnings):
    test = coco(tmp_path, "test", [1, 1, 10, 10], test_mode=True)
    train = coco(tmp_path, "train", [3, 3, 10, 10])
    # what tests is what validates, in another pipeline
    find = known(test=test, val=test | dict(pipeline=[]), train=train)
    train_file = tmp_path / "train.json"
    shutil.move(train_file, tmp_path / "kept.json")
    assert find(tmp_path / "test/seen.png") is not None and warnings == []
    assert find(tmp_path / "train/seen.png") is None
    gone, none = warnings
    assert gone.startswith("No ground truth is drawn of the training set, for it can't be read")
    assert "no image of the test or training set" in none
    find(tmp_path / "train/seen.png")
    assert warnings[2:] == [none]


def test_a_picture_of_no_set_is_told_in_the_log(tmp_path, warnings):
    Image.new("RGB", (40, 40)).save(tmp_path / "seen.png")
    find = known(test=coco(tmp_path, "test", [1, 1, 10, 10]))
    assert find(tmp_path / "seen.png") is None
    (line,) = warnings
    assert line.startswith(f"{tmp_path}/seen.png is drawn without ground truth: no image of the")


def test_a_set_of_other_classes_has_no_ground_truth_for_the_model(tmp_path, warnings):
    other = dict(metainfo=dict(classes=("boat", "bird")))
    find = known(
        test=coco(tmp_path, "test", [1, 1, 10, 10]),
        train=coco(tmp_path, "train", [3, 3, 10, 10], **other),
    )
    assert find(tmp_path / "train/seen.png") is None
    assert "training set" in warnings[0] and "classes are not those of the test" in warnings[0]
