"""CheckedCoco beside the faults: classes of one's own, places, kept scans, worker processes."""

from __future__ import annotations

import json
import os
import pickle
import shutil
from pathlib import Path

import pytest
import torch
from coco_files import (
    CLASSES,
    build,
    refusal,
    reopen,
    sound_content,
    spoilt,
    write_folder,
)
from mmengine.config import ConfigDict
from mmengine.dataset import pseudo_collate
from mmengine.registry import init_default_scope
from torch.utils.data import DataLoader

from semaim_mm.data.keyed import KeyedDataset, SampleKey
from semaim_mm.dense import coco
from semaim_mm.dense.coco_scan import scan_annotations
from semaim_mm.dense.own_classes import make_palette
from semaim_mm.errors import InputError, UnreadableImageError


@pytest.fixture(autouse=True)
def surroundings(tmp_path, monkeypatch):
    """mmdet's scope and a cache of the test's own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    init_default_scope("mmdet")


@pytest.fixture
def root(tmp_path) -> Path:
    return write_folder(tmp_path)


@pytest.mark.parametrize("classes", [("cat", "dog"), ["cat", "dog"]])
def test_own_classes_get_a_palette(root, classes):
    metainfo = ConfigDict(classes=classes)
    dataset = build(root, sound_content(), metainfo=metainfo)
    assert dataset.metainfo["classes"] == ("cat", "dog")
    # both are COCO's too, and keep its colours
    assert dataset.metainfo["palette"] == [(255, 77, 255), (0, 226, 252)]
    content = sound_content()
    content["categories"] = [dict(id=3, name="moth"), dict(id=7, name="dog")]
    dataset = build(root, content, metainfo=dict(classes=type(classes)(["moth", "dog"])))
    assert len(set(dataset.metainfo["palette"])) == 2
    assert (0, 226, 252) not in dataset.metainfo["palette"]
    given = [(1, 2, 3), (4, 5, 6)]
    dataset = build(root, sound_content(), metainfo=dict(classes=classes, palette=given))
    assert dataset.metainfo["palette"] == given


def test_made_colours_differ_and_are_always_the_same():
    palette = make_palette(200)
    assert len(set(palette)) == 200
    assert palette[:50] == make_palette(50)
    assert all(0 <= value <= 255 for colour in palette for value in colour)


def test_classes_may_stand_in_a_file(root):
    (root / "classes.txt").write_text("cat\ndog\n")
    dataset = build(root, sound_content(), metainfo=dict(classes=str(root / "classes.txt")))
    assert dataset.metainfo["classes"] == CLASSES


@pytest.mark.parametrize(
    ("metainfo", "words"),
    [
        (dict(classes="dog"), "write classes=('dog',), with the comma"),
        (dict(classes=()), "are empty"),
        (dict(classes=("cat", "dog", "cat")), "name 'cat' twice"),
        (dict(classes=(1, 2)), "write their names"),
        (dict(classes=CLASSES, palette=[(0, 0, 0)]), "1 colours in its palette for 2 classes"),
    ],
)
def test_wrong_classes_in_the_config_are_told(root, metainfo, words):
    assert words in refusal(root, sound_content(), metainfo=metainfo)


def test_wrong_places_and_words_are_told_before_anything_is_read(root, monkeypatch):
    (root / "a.json").write_text(json.dumps(sound_content()))
    monkeypatch.setattr(coco, "read_annotations", None)
    for changes, words in [
        (dict(ann_file="b.json"), f"no annotation file at {root}/b.json"),
        (dict(data_prefix=dict(img="pictures")), f"no image folder at {root}/pictures"),
        (dict(data_prefix=dict(img_path="images")), "data_prefix=dict(img='...')"),
        (dict(faults="skip"), "neither 'stop' nor 'drop'"),
    ]:
        with pytest.raises(InputError, match=".") as caught:
            reopen(root, **changes)
        assert words in str(caught.value)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "no readable JSON file"),
        ("[1]", "no list of 'images'"),
        ('{"images": [1], "annotations": {}}', "no list of 'annotations'"),
        ('{"images": [1], "annotations": [], "categories": [1]}', "empty list of 'annotations'"),
    ],
)
def test_a_file_of_another_format_is_refused(root, text, words):
    assert words in refusal(root, text)


def test_images_may_lie_in_subfolders(root):
    (root / "images" / "sub").mkdir()
    shutil.move(root / "images" / "2.png", root / "images" / "sub" / "2.png")
    content = sound_content()
    assert "1 (2.png)" in refusal(root, content)
    content["images"][1]["file_name"] = "sub/2.png"
    assert len(build(root, content)) == 4


def test_dropping_everything_is_refused(root):
    shutil.rmtree(root / "images")
    (root / "images").mkdir()
    message = refusal(root, sound_content(), faults="drop")
    assert "nothing would be left" in message
    assert "not in the folder: 4 (1.png, 2.png, 3.png, ...)" in message


def test_a_filter_that_leaves_no_image_is_told(root):
    assert "filter_cfg={'min_size': 64}" in refusal(
        root, sound_content(), filter_cfg=dict(min_size=64)
    )
    dataset = reopen(root, filter_cfg=dict(filter_empty_gt=True, min_size=8))
    assert len(dataset) == 3


@pytest.fixture
def scans(monkeypatch) -> list:
    """How often the scan ran."""
    runs = []
    monkeypatch.setattr(
        coco, "scan_annotations", lambda *args: runs.append(1) or scan_annotations(*args)
    )
    return runs


def test_an_unchanged_file_is_scanned_once(root, scans):
    content = spoilt("zero_size_boxes")
    first = refusal(root, content)
    assert refusal_again(root) == first
    assert len(scans) == 1
    os.utime(root / "a.json", ns=(0, 0))  # another time of change
    assert refusal_again(root) == first
    assert len(scans) == 2


def refusal_again(root: Path) -> str:
    with pytest.raises(InputError) as caught:
        reopen(root)
    return str(caught.value)


def test_a_kept_scan_does_not_hide_what_changed(root, scans):
    build(root, sound_content())
    reopen(root)
    assert len(scans) == 1
    (root / "images" / "3.png").unlink()  # the file is as it was, the folder is not
    assert "1 (3.png)" in refusal_again(root)
    assert len(scans) == 1
    assert "zero or negative" in refusal(root, spoilt("zero_size_boxes"))
    reopen(root, faults="drop", metainfo=dict(classes=("dog",)))
    assert len(scans) == 3


def test_the_file_is_read_once_with_or_without_a_kept_scan(root, monkeypatch):
    load, loads = json.load, []
    monkeypatch.setattr(json, "load", lambda file: loads.append(1) or load(file))
    build(root, sound_content())
    assert len(loads) == 1
    reopen(root)
    assert len(loads) == 2


@pytest.mark.parametrize("serialize_data", [True, False])
def test_it_waits_until_asked_and_goes_to_worker_processes(root, serialize_data):
    changes = dict(faults="drop", lazy_init=True, serialize_data=serialize_data)
    dataset = build(root, spoilt("zero_size_boxes"), **changes)
    assert dataset.dropped == {}
    dataset = pickle.loads(pickle.dumps(dataset))
    assert len(dataset) == 4
    assert dataset.dropped == dict(zero_size_boxes=1 + 1)
    dataset = KeyedDataset(pickle.loads(pickle.dumps(dataset)))
    assert dataset.metainfo["classes"] == CLASSES
    assert dataset.get_data_info(SampleKey(0, 0, 2))["img_id"] == 3
    loader = DataLoader(dataset, batch_size=2, num_workers=1, collate_fn=pseudo_collate)
    batches = list(loader)
    assert [len(batch["inputs"]) for batch in batches] == [2, 2]
    assert torch.equal(batches[0]["inputs"][0], dataset[0]["inputs"])


def test_a_truncated_image_is_named_by_the_pipeline(root):
    dataset = KeyedDataset(build(root, sound_content()))
    path = root / "images" / "2.png"
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(UnreadableImageError, match=str(path)):
        dataset[SampleKey(0, 0, 1)]
