"""COCO-format files: every fault is named by file and count, or left out as if never there."""

from __future__ import annotations

import copy
import json
import os
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import ConfigDict
from mmengine.dataset import pseudo_collate
from mmengine.registry import DATASETS, init_default_scope
from PIL import Image
from pycocotools import mask as mask_tools
from torch.utils.data import DataLoader

from semaim_mm.data.keyed import KeyedDataset, SampleKey
from semaim_mm.dense import coco
from semaim_mm.dense.coco import CheckedCoco
from semaim_mm.dense.coco_scan import ANNOTATION_KINDS, IMAGE_KINDS, scan_annotations
from semaim_mm.dense.own_classes import make_palette
from semaim_mm.errors import InputError, UnreadableImageError

SAMPLE = Path(__file__).resolve().parents[2] / "data" / "sample" / "coco"
WIDTH, HEIGHT = 40, 30
CLASSES = ("cat", "dog")
MASKS = [
    dict(type="LoadImage"),
    dict(type="LoadAnnotations", with_bbox=True, with_mask=True),
    dict(type="Resize", scale=(80, 60), keep_ratio=True),
    dict(type="PackDetInputs"),
]


def box_polygon(x, y, w, h) -> list[list[float]]:
    return [[x, y, x + w, y, x + w, y + h, x, y + h]]


def annotation(number: int, image: int = 1, box=(4, 5, 10, 8), **changes) -> dict:
    """A sound annotation of category 7 ('dog'), whose mask is its box."""
    w, h = box[2:]
    entry = dict(
        id=number,
        image_id=image,
        category_id=7,
        bbox=list(box),
        area=w * h,
        iscrowd=0,
        segmentation=box_polygon(*box),
    )
    return entry | changes


def compressed(box) -> dict:
    x, y, w, h = box
    mask = np.zeros((HEIGHT, WIDTH), np.uint8, order="F")
    mask[y : y + h, x : x + w] = 1
    rle = mask_tools.encode(mask)
    return dict(size=rle["size"], counts=rle["counts"].decode())


def sound_content() -> dict:
    """Four images: polygons, both kinds of run-length mask, a crowd, and one without objects."""
    runs = [5 * HEIGHT, 10 * HEIGHT, WIDTH * HEIGHT - 15 * HEIGHT]
    return dict(
        images=[dict(id=n, file_name=f"{n}.png", width=WIDTH, height=HEIGHT) for n in range(1, 5)],
        annotations=[
            annotation(10),
            annotation(11, box=(0, 0, 40, 30), category_id=3),
            annotation(12, image=2, segmentation=compressed((4, 5, 10, 8))),
            annotation(
                13,
                image=2,
                box=(5, 0, 10, 30),
                iscrowd=1,
                segmentation=dict(size=[HEIGHT, WIDTH], counts=runs),
            ),
            annotation(14, image=3, box=(30.5, 20.25, 9.51, 9.76)),  # over the border by rounding
        ],
        categories=[dict(id=3, name="cat"), dict(id=7, name="dog")],
    )


def incomplete(number: int, key: str) -> dict:
    entry = annotation(number)
    del entry[key]
    return entry


# what a kind of fault adds to a sound file: images, annotations, and words of the sentence
ADDED: dict[str, tuple[list, list, str]] = dict(
    missing_images=(
        [dict(id=20, file_name="gone.png", width=WIDTH, height=HEIGHT)],
        [annotation(20, image=20)],
        "not in the folder: 1 (gone.png)",
    ),
    incomplete_images=([dict(file_name="1.png", width=40, height=30)], [], ": 1 (number 4)"),
    duplicate_images=(
        [dict(id=1, file_name="2.png", width=WIDTH, height=HEIGHT)],
        [],
        "whose id another one has: 1 (2.png with id 1)",
    ),
    unsized_images=(
        [dict(id=21, file_name="4.png"), dict(id=22, file_name="4.png", width=0, height=5)],
        [annotation(21, image=21)],
        "without a width and height: 2 (4.png)",
    ),
    incomplete_annotations=(
        [],
        [
            incomplete(30, "area"),
            incomplete(31, "bbox"),
            incomplete(32, "image_id"),
            incomplete(33, "category_id"),
            annotation(34, bbox=[1, 2, 3]),
            annotation(35, bbox=[1, 2, "3", 4]),
            annotation(36, bbox=[1, 2, float("nan"), 4]),
            incomplete(37, "id"),
            None,
        ],
        "four numbers: 9 (annotation 30, annotation 31, annotation 32, ...)",
    ),
    duplicate_annotations=(
        [],
        [annotation(10, image=3, box=(1, 1, 5, 5))],
        "whose id another one has: 1 (annotation 10 in 3.png)",
    ),
    orphan_annotations=(
        [],
        [annotation(40, image=99)],
        "image_id no image has: 1 (annotation 40 of image 99)",
    ),
    unknown_categories=(
        [],
        [annotation(41, category_id=0)],
        "no category has: 1 (category_id 0)",
    ),
    zero_size_boxes=(
        [],
        [annotation(50, box=(3, 3, 0, 5)), annotation(51, box=(3, 3, 5, -2))],
        "zero or negative size: 2 (annotation 50 in 1.png, annotation 51 in 1.png)",
    ),
    boxes_outside=(
        [],
        [annotation(52, bbox=[40, 3, 5, 5]), annotation(53, bbox=[2, -9, 5, 9])],
        "entirely outside their image: 2 (annotation 52 in 1.png",
    ),
    zero_areas=(
        [],
        [annotation(54, area=0), annotation(55, area=-3, segmentation=compressed((1, 1, 5, 5)))],
        "an area of zero, though box and mask have one: 2 (annotation 54 in 1.png",
    ),
    polygons_outside=(
        [],
        [
            annotation(60, segmentation=box_polygon(35, 5, 7.5, 4)),  # right
            annotation(61, segmentation=box_polygon(5, -2.5, 8, 8)),  # top
            annotation(62, segmentation=box_polygon(41, 31, 0.5, 0.5)),  # near, yet all outside
            annotation(63, segmentation=box_polygon(4, 4, 5, 5) + box_polygon(50, 50, 5, 5)),
        ],
        "more than 2 px beyond its border: 4 (annotation 60 in 1.png, annotation 61 in 1.png, "
        "annotation 62 in 1.png, ...)",
    ),
    malformed_polygons=(
        [],
        [
            annotation(64, segmentation=[[1, 1, 5, 5]]),
            annotation(65, segmentation=[[1, 1, 5, 5, 2, 7, 3]]),
            annotation(66, segmentation=[1, 1, 5, 5, 2, 7]),
            annotation(67, segmentation=[[1, 1, 5, "5", 2, 7]]),
            annotation(68, segmentation=[dict(size=[HEIGHT, WIDTH], counts="1")]),
        ],
        "fewer than 3 points",
    ),
    wrong_rles=(
        [],
        [
            annotation(70, segmentation=dict(size=[WIDTH, HEIGHT], counts="1")),
            annotation(71, segmentation=dict(size=[HEIGHT, WIDTH])),
            annotation(72, segmentation=dict(size=[HEIGHT, WIDTH], counts=[10, 10])),
        ],
        "another size than their image, or without counts: 3 (annotation 70 in 1.png",
    ),
    maskless=(
        [],
        [annotation(80, segmentation=[]), incomplete(81, "segmentation")],
        "without a segmentation, which the pipeline loads: 2 (annotation 80 in 1.png",
    ),
)


@pytest.fixture(autouse=True)
def surroundings(tmp_path, monkeypatch, capfd):
    """mmdet's scope and a cache of the test's own; pycocotools' chatter kept."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    init_default_scope("mmdet")


@pytest.fixture
def root(tmp_path) -> Path:
    """A folder of four images."""
    (tmp_path / "images").mkdir()
    noise = np.random.default_rng(0).integers(0, 255, (HEIGHT, WIDTH, 3), np.uint8)
    for number in range(1, 5):
        Image.fromarray(noise).save(tmp_path / "images" / f"{number}.png")
    return tmp_path


def build(root: Path, content: dict | str, name: str = "a.json", **changes) -> CheckedCoco:
    text = content if isinstance(content, str) else json.dumps(content)
    (root / name).write_text(text)
    return reopen(root, name, **changes)


def reopen(root: Path, name: str = "a.json", **changes) -> CheckedCoco:
    settings = dict(
        type="CheckedCoco",
        data_root=str(root),
        ann_file=name,
        data_prefix=dict(img="images"),
        metainfo=dict(classes=CLASSES),
        pipeline=copy.deepcopy(MASKS),
        serialize_data=False,  # a second faster, for it collects garbage
    )
    return DATASETS.build(settings | changes)


def spoilt(*kinds: str) -> dict:
    content = sound_content()
    for kind in kinds:
        images, annotations, _ = copy.deepcopy(ADDED[kind])
        content["images"] += images
        content["annotations"] += annotations
    return content


def infos(dataset: CheckedCoco) -> list[dict]:
    return [dataset.get_data_info(index) for index in range(len(dataset))]


def refusal(root: Path, content: dict | str, **changes) -> str:
    with pytest.raises(InputError) as caught:
        build(root, content, **changes)
    return str(caught.value)


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


def test_the_shipped_sample_passes():
    for split in ("train", "val"):
        dataset = CheckedCoco(
            data_root=str(SAMPLE),
            ann_file=f"annotations/instances_{split}.json",
            data_prefix=dict(img=split),
            metainfo=dict(classes=("animal", "food", "vehicle")),
            pipeline=MASKS,
            test_mode=split == "val",
        )
        assert dataset.passed_over == {}
        assert len(dataset) == len(list((SAMPLE / split).iterdir()))
