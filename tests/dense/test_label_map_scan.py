"""Label maps: every fault is named by file and count, or left out as if never there."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from label_map_files import (
    CLASSES,
    HEIGHT,
    SPOIL,
    WIDTH,
    add,
    build,
    grey,
    infos,
    picture,
    refusal,
    stray_maps,
    write_set,
    wrong_sizes,
)
from mmengine.registry import init_default_scope
from PIL import Image

from semaim_mm.dense import label_maps
from semaim_mm.dense.label_map_scan import KINDS, image_size


@pytest.fixture(autouse=True)
def surroundings(tmp_path, monkeypatch):
    """mmseg's scope and a cache of the test's own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    init_default_scope("mmseg")


@pytest.fixture
def root(tmp_path) -> Path:
    return write_set(tmp_path / "set")


def test_a_sound_set_passes_and_loads_as_mmseg_loads_it(root):
    dataset = build(root)
    plain = build(root, type="BaseSegDataset")
    assert infos(dataset) == infos(plain)
    assert [Path(info["img_path"]).stem for info in infos(dataset)] == ["a", "b", "c", "d"]
    assert (dataset.dropped, dataset.passed_over) == ({}, {})
    assert dataset.metainfo["classes"] == CLASSES
    assert len(dataset.metainfo["palette"]) == 3


@pytest.mark.parametrize("test_mode", [False, True])
@pytest.mark.parametrize("kind", sorted(SPOIL))
def test_each_fault_by_itself_is_named_with_file_and_count(root, kind, test_mode):
    spoil, words = SPOIL[kind]
    spoil(root)
    message = refusal(root, test_mode=test_mode)
    assert words in message
    assert str(root / "images") in message
    assert message.count("\n  - ") == 1 + (kind == "wrong_values")  # which adds a suggestion
    assert ("evaluation leaves nothing out" if test_mode else "bad_annotations='drop'") in message


@pytest.mark.parametrize("kind", sorted(SPOIL))
def test_dropping_a_fault_equals_a_set_that_never_had_it(root, kind):
    clean = infos(build(root))
    SPOIL[kind][0](root)
    dataset = build(root, faults="drop")
    assert infos(dataset) == clean
    assert dataset.dropped == {kind: int(SPOIL[kind][1].split(": ")[1].split()[0])}
    assert [tuple(dataset[i]["inputs"].shape[1:]) for i in range(4)] == [(12, 20)] * 3 + [(7, 9)]


def test_all_faults_together_are_told_at_once_and_dropped_together(root):
    clean = infos(build(root))
    for spoil, _ in SPOIL.values():
        spoil(root)
    message = refusal(root)
    for _, words in SPOIL.values():
        assert words in message
    dataset = build(root, faults="drop")
    assert infos(dataset) == clean
    assert set(dataset.dropped) == set(SPOIL)
    assert set(SPOIL) | {"missing_images"} == set(KINDS)
    assert "evaluation leaves nothing out" in refusal(root, faults="drop", test_mode=True)


def test_a_list_of_samples_is_checked_for_what_it_names(root):
    wrong_sizes(root)
    stray_maps(root)
    (root / "list.txt").write_text("a\nsub/d\n")
    assert len(build(root, ann_file="list.txt")) == 2
    (root / "list.txt").write_text("a\ngone\nx7\n")
    message = refusal(root, ann_file="list.txt")
    assert "not in the folder: 1 (gone.jpg)" in message
    assert "x7.png, 12 x 20 for 20 x 12" in message
    dataset = build(root, ann_file="list.txt", faults="drop")
    assert [Path(info["img_path"]).stem for info in infos(dataset)] == ["a"]
    assert dataset.dropped == dict(missing_images=1, wrong_sizes=1)


def test_wrong_places_and_words_are_told_before_anything_is_read(root, monkeypatch):
    monkeypatch.setattr(label_maps, "list_files", None)
    prefix = dict(img_path="images", seg_map_path="maps")
    for changes, words in [
        (dict(data_prefix=prefix | dict(img_path="x")), f"no image folder at {root}/x"),
        (dict(data_prefix=prefix | dict(seg_map_path="y")), f"no label map folder at {root}/y"),
        (dict(data_prefix=prefix | dict(seg_map_path="y")), "data_prefix=dict(seg_map_path=...)"),
        (dict(ann_file="z.txt"), f"no list of samples at {root}/z.txt"),
        (dict(faults="skip"), "neither 'stop' nor 'drop'"),
        (dict(metainfo=None), "CheckedLabelMaps does not know its classes"),
        (dict(metainfo=dict(classes="sky")), "with the comma"),
    ]:
        assert words in refusal(root, **changes)


def test_a_folder_without_images_of_that_suffix_is_refused(root):
    assert "label maps without an image: 4" in refusal(root, img_suffix=".jpeg")
    shutil.rmtree(root / "maps")
    (root / "maps").mkdir()
    message = refusal(root, img_suffix=".jpeg")
    assert "No image of" in message
    assert "*.jpeg" in message


def test_images_alone_pass_where_no_label_maps_are_asked_for(root):
    pipeline = [dict(type="LoadImage"), dict(type="PackSegInputs")]
    prefix = dict(img_path=str(root / "images"))
    dataset = build(root, data_prefix=prefix, pipeline=pipeline, test_mode=True)
    assert len(dataset) == 4


def test_an_image_that_its_exif_turns_is_compared_as_it_is_loaded(root):
    exif = Image.Exif()
    exif[0x0112] = 6
    add(root, "turned", picture(), grey(HEIGHT, WIDTH), exif=exif)
    assert image_size(root / "images" / "turned.jpg") == (HEIGHT, WIDTH)
    dataset = build(root)
    index = [Path(info["img_path"]).stem for info in infos(dataset)].index("turned")
    item = dataset[index]
    assert item["inputs"].shape[1:] == (WIDTH, HEIGHT)
    assert item["data_samples"].gt_sem_seg.data.shape[1:] == (WIDTH, HEIGHT)


def test_a_map_without_any_class_is_kept_and_counted(root):
    add(root, "e", picture(), np.full((HEIGHT, WIDTH), 255, np.uint8))
    dataset = build(root)
    assert len(dataset) == 5
    assert dataset.passed_over == dict(blank_maps=1)
    shutil.rmtree(root / "maps")
    for name in ("a", "b", "c", "e"):
        add(root, name, None, grey(low=1, high=3))
    add(root, "sub/d", None, np.zeros((7, 9), np.uint8))
    dataset = build(root, reduce_zero_label=True)
    assert dataset.passed_over == dict(blank_maps=1)
