"""What a config declares harmless is borne with, told, and changes no score of what is left."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from coco_files import CLASSES, build, infos, refusal, sound_content, spoilt, write_folder
from dense_data import write_coco
from mmengine.registry import init_default_scope

from semaim_mm.runtime.evaluate import evaluate
from semaim_mm.runtime.launch import build_runner, load_config

DET = "configs/det/mask-rcnn_tiny_vitdet.py"
NAMES = ["animal", "food", "vehicle"]


@pytest.fixture(autouse=True)
def surroundings(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    init_default_scope("mmdet")


@pytest.fixture
def root(tmp_path) -> Path:
    return write_folder(tmp_path)


@pytest.mark.parametrize("test_mode", [False, True])
def test_a_choice_of_classes_is_borne_with_where_it_is_declared(root, test_mode):
    content = sound_content()
    dog = dict(metainfo=dict(classes=("dog",)), test_mode=test_mode)
    message = refusal(root, content, **dog)
    assert "that the config's classes do not list: 1 ('cat')" in message
    if test_mode:
        assert "tolerated_annotations=['unlisted_categories'] bears with that" in message
    dataset = build(root, content, tolerated=["unlisted_categories"], **dog)
    assert dataset.passed_over["unlisted_categories"] == 1 and not dataset.dropped
    labels = [i["bbox_label"] for info in infos(dataset) for i in info["instances"]]
    assert labels == [0] * 4 and len(dataset) == 4
    content["annotations"] = [a for a in content["annotations"] if a["category_id"] == 7]
    assert infos(dataset) == infos(build(root, content, "b.json", **dog))


@pytest.mark.parametrize("test_mode", [False, True])
def test_polygons_outside_are_borne_with_and_nothing_else(root, test_mode):
    whole = dict(tolerated=["polygons_outside"], test_mode=test_mode)
    dataset = build(root, spoilt("polygons_outside"), **whole)
    assert dataset.passed_over == dict(polygons_outside=4)
    assert sum(len(info["instances"]) for info in infos(dataset)) == 5 + 4
    message = refusal(root, spoilt("polygons_outside", "malformed_polygons"), **whole)
    assert "fewer than 3 points" in message and "beyond its border" not in message


@pytest.mark.parametrize("tolerated", [["zero_size_boxes"], "polygons_outside", ["unknown"]])
def test_other_kinds_can_not_be_declared_harmless(root, tolerated):
    message = refusal(root, sound_content(), tolerated=tolerated, metainfo=dict(classes=CLASSES))
    assert "is no list of unlisted_categories and polygons_outside" in message


def options(root: Path, **more) -> dict:
    found = {"data_root": str(root), "test_dataloader.num_workers": 0}
    return found | {"model.backbone.init_cfg": None} | more


@pytest.mark.slow
def test_a_subset_of_the_classes_is_scored_as_if_the_file_had_no_other(tmp_path):
    root = write_coco(tmp_path / "coco", NAMES, count=4)
    # 'random' detectors find nothing much: what counts is which objects are scored
    subset = dict(classes=["food"], tolerated_annotations=["unlisted_categories"])
    result = evaluate(DET, "random", str(tmp_path / "a"), options(root, **subset))
    path = root / "annotations" / "instances_val.json"
    content = json.loads(path.read_text())
    kept = [a for a in content["annotations"] if a["category_id"] == 2]
    assert 0 < len(kept) < len(content["annotations"])
    path.write_text(json.dumps(content | dict(annotations=kept)))
    alone = evaluate(DET, "random", str(tmp_path / "b"), options(root, classes=["food"]))
    assert result["metrics"] == alone["metrics"] and result["n_evaluated"] == 4
    assert set(result["run"]["per_class"]["bbox"]) == {"food"}
    # two protocols, for one was told to pass over objects
    assert result["fingerprint"] != alone["fingerprint"]
    assert "tolerated" not in alone["protocol"]["test_data"]
    saved = result["protocol"]["test_data"]["tolerated"]
    assert saved == ["unlisted_categories"] and result["protocol"]["classes"] == ["food"]


def test_every_set_of_a_config_is_told(tmp_path):
    root = write_coco(tmp_path / "coco", NAMES)
    subset = dict(classes=["food"], tolerated_annotations=["unlisted_categories"])
    runner = build_runner(load_config(DET, options(root, **subset), str(tmp_path / "run")))
    for loader in (runner._train_dataloader, runner._val_dataloader, runner._test_dataloader):
        inner = loader["dataset"].get("dataset", loader["dataset"])
        assert inner["tolerated"] == ["unlisted_categories"]
