"""COCO-format files: every fault is named by file and count, or left out as if never there."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
from coco_files import (
    ADDED,
    CLASSES,
    MASKS,
    annotation,
    box_polygon,
    build,
    infos,
    refusal,
    sound_content,
    spoilt,
    write_folder,
)
from mmengine.registry import DATASETS, init_default_scope

from semaim_mm.dense.coco_scan import ANNOTATION_KINDS, IMAGE_KINDS


@pytest.fixture(autouse=True)
def surroundings(tmp_path, monkeypatch):
    """mmdet's scope and a cache of the test's own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    init_default_scope("mmdet")


@pytest.fixture
def root(tmp_path) -> Path:
    return write_folder(tmp_path)


def test_a_sound_file_passes_and_loads_as_mmdet_loads_it(root):
    dataset = build(root, sound_content())
    plain = DATASETS.build(
        dict(
            type="CocoDataset",
            data_root=str(root),
            ann_file="a.json",
            data_prefix=dict(img="images"),
            metainfo=dict(classes=CLASSES),
        )
    )
    assert infos(dataset) == infos(plain)
    assert [len(info["instances"]) for info in infos(dataset)] == [2, 2, 1, 0]
    assert (dataset.dropped, dataset.passed_over) == ({}, {})


@pytest.mark.parametrize("test_mode", [False, True])
@pytest.mark.parametrize("kind", sorted(ADDED))
def test_each_fault_by_itself_is_named_with_file_and_count(root, kind, test_mode):
    if kind == "zero_areas" and test_mode:
        build(root, spoilt(kind), test_mode=True)  # COCO's metric counts it as small
        return
    message = refusal(root, spoilt(kind), test_mode=test_mode)
    assert ADDED[kind][2] in message
    assert str(root / "a.json") in message
    assert message.count("\n  - ") == 1
    assert ("evaluation leaves nothing out" if test_mode else "bad_annotations='drop'") in message


@pytest.mark.parametrize("kind", sorted(ADDED))
def test_dropping_a_fault_equals_a_file_that_never_had_it(root, kind):
    clean = build(root, sound_content(), "clean.json")
    dataset = build(root, spoilt(kind), faults="drop")
    assert infos(dataset) == infos(clean)
    number = len((IMAGE_KINDS.get(kind) and ADDED[kind][0]) or ADDED[kind][1])
    assert dataset.dropped[kind] == number
    assert all(dataset[index]["inputs"].shape == (3, 60, 80) for index in range(4))


def test_all_faults_together_are_told_at_once_and_dropped_together(root):
    message = refusal(root, spoilt(*ADDED))
    assert message.count("\n  - ") == len(ADDED)
    for _, _, words in ADDED.values():
        assert words.split(":")[0] in message
    clean = build(root, sound_content(), "clean.json")
    dataset = build(root, spoilt(*ADDED), faults="drop")
    assert infos(dataset) == infos(clean)
    assert set(dataset.dropped) == {*ADDED, "annotations_of_dropped_images"}
    # one of the missing image, one of the image without a size
    assert dataset.dropped["annotations_of_dropped_images"] == 2


def test_every_kind_of_fault_is_tried_here():
    elsewhere = {"unlisted_categories", "crowdless"}
    assert set(ADDED) | elsewhere == set(IMAGE_KINDS) | set(ANNOTATION_KINDS)


def test_evaluation_stops_even_where_the_config_says_drop(root):
    assert "zero or negative size" in refusal(
        root, spoilt("zero_size_boxes"), faults="drop", test_mode=True
    )


def test_an_evaluation_file_without_iscrowd_is_refused_but_trains(root):
    content = sound_content()
    del content["annotations"][0]["iscrowd"]
    assert len(build(root, content)) == 4
    assert "without iscrowd" in refusal(root, content, test_mode=True)


def test_a_missing_mask_is_no_fault_for_a_pipeline_that_loads_none(root):
    boxes = copy.deepcopy(MASKS)
    boxes[1]["with_mask"] = False
    dataset = build(root, spoilt("maskless"), pipeline=boxes)
    assert len(infos(dataset)[0]["instances"]) == 4


def test_rounding_at_the_border_is_no_fault(root):
    content = sound_content()
    content["annotations"].append(annotation(90, segmentation=box_polygon(-1.9, -2, 43.5, 33.9)))
    assert len(build(root, content)) == 4


def test_what_mmdet_leaves_out_as_all_do_is_counted_and_never_stops(root):
    content = sound_content()
    line = [[3, 3, 9, 9, 3, 3, 9, 9]]
    content["annotations"] += [
        annotation(90, box=(3, 3, 0.5, 4)),
        annotation(91, box=(3, 3, 4, 0.99)),
        annotation(92, area=0.0, segmentation=line),
        annotation(93, ignore=1),
    ]
    dataset = build(root, content)
    assert dataset.passed_over == dict(tiny_boxes=2, flat_masks=1, ignored=1)
    assert infos(dataset) == infos(build(root, sound_content(), "clean.json"))
    assert len(build(root, content, test_mode=True)) == 4


def test_the_two_boxes_of_zero_height_in_the_published_file_are_known_by_id_and_box(root):
    content = sound_content()
    content["images"] += [
        dict(id=200365, file_name="1.png", width=640, height=480),
        dict(id=550395, file_name="2.png", width=640, height=480),
    ]
    first = [296.65, 388.33, 296.65, 388.33, 297.68, 388.33, 297.68, 388.33]
    second = [9.98, 188.56, 15.52, 188.56, 15.52, 188.56, 11.09, 188.56]
    flat = dict(area=0.0)
    known = [
        annotation(918, 200365, (296.65, 388.33, 1.03, 0.0), segmentation=[first], **flat),
        annotation(2206849, 550395, (9.98, 188.56, 5.54, 0.0), segmentation=[second], **flat),
    ]
    dataset = build(root, content | dict(annotations=content["annotations"] + known))
    assert dataset.passed_over == dict(published=2)
    known[0]["bbox"][0] += 1
    changed = content | dict(annotations=content["annotations"] + known)
    assert "negative size: 1 (annotation 918" in refusal(root, changed)


@pytest.mark.parametrize("faults", ["stop", "drop"])
def test_a_class_that_the_file_lacks_always_stops(root, faults):
    changes = dict(metainfo=dict(classes=("cat", "dog", "cow")), faults=faults)
    message = refusal(root, sound_content(), **changes)
    assert "no category has: 1 (cow)" in message
    assert "the file has cat, dog" in message


def test_a_config_without_classes_is_told_to_set_the_files_own(root):
    message = refusal(root, sound_content(), metainfo=None)
    assert "78 of COCO's 80 classes (person, bicycle, car, ...)" in message
    assert "set classes=('cat', 'dog') in the config" in message


def test_used_categories_that_the_config_does_not_list_stop_or_are_dropped(root):
    changes = dict(metainfo=dict(classes=("dog",)))
    message = refusal(root, sound_content(), **changes)
    assert "classes do not list: 1 ('cat')" in message
    dataset = build(root, sound_content(), faults="drop", **changes)
    content = sound_content()
    del content["annotations"][1]
    assert infos(dataset) == infos(build(root, content, "clean.json", **changes))
    assert dataset.dropped == dict(unlisted_categories=1)
    assert {i["bbox_label"] for info in infos(dataset) for i in info["instances"]} == {0}


def test_unused_categories_need_not_be_listed(root):
    content = sound_content()
    content["categories"].insert(0, dict(id=1, name="bird"))
    dataset = build(root, content)
    assert infos(dataset)[0]["instances"][0]["bbox_label"] == 1  # 'dog'


def test_classes_in_another_order_than_the_file_are_refused(root):
    message = refusal(root, sound_content(), metainfo=dict(classes=("dog", "cat")))
    assert "lists 'dog' where the file's categories have 'cat'" in message


def test_categories_that_share_a_name_are_refused(root):
    content = sound_content()
    content["categories"].append(dict(id=8, name="dog"))
    assert "name or id another one has: dog" in refusal(root, content)
