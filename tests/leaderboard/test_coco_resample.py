"""AP of resampled images equals pycocotools on files in which the images are copied."""

from __future__ import annotations

import json

import numpy as np
import pytest
from coco_scene import SIDE, copied, evaluate, scene
from pycocotools import mask

from semaim_mm.errors import InputError
from semaim_mm.leaderboard import coco_resample
from semaim_mm.leaderboard.coco_resample import ResampledCoco, match

STATS = {"mAP": 0, "mAP_50": 1, "mAP_75": 2, "mAP_s": 3, "mAP_m": 4, "mAP_l": 5, "AR@100": 8}
IMAGES = 12


def resamples(number: int, images: int = IMAGES, seed: int = 0) -> np.ndarray:
    random = np.random.default_rng(seed)
    drawn = random.integers(0, images, (number, images))
    return np.stack([np.bincount(row, minlength=images) for row in drawn])


def check(values: dict, row: int, stats: np.ndarray) -> None:
    for name, index in STATS.items():
        expected = np.nan if stats[index] == -1 else 100 * stats[index]
        np.testing.assert_allclose(values[name][row], expected, rtol=0, atol=1e-9, err_msg=name)


@pytest.mark.parametrize("seed", range(4))
def test_every_image_once_gives_the_numbers_of_pycocotools(seed):
    whole = evaluate(*scene(seed))
    check(ResampledCoco(whole).values(np.ones((1, IMAGES), int)), 0, whole.stats)


@pytest.mark.parametrize("ties", [True, False])
@pytest.mark.parametrize("seed", range(3))
def test_a_resample_gives_the_numbers_of_pycocotools_on_copied_images(seed, ties):
    truth, found = scene(seed, ties=ties)
    counts = resamples(4, seed=seed)
    values = ResampledCoco(evaluate(truth, found, whole=False)).values(counts)
    for row, times in enumerate(counts):
        check(values, row, evaluate(*copied(truth, found, times)).stats)


def test_scores_that_tie_inside_a_copied_image_alternate_from_copy_to_copy():
    truth, _ = scene(0, images=2, classes=1)
    box, other = [10.0, 10.0, 60.0, 60.0], [300.0, 300.0, 60.0, 60.0]
    truth["annotations"] = [
        dict(id=i, image_id=i, category_id=1, bbox=box, area=3600.0, iscrowd=0) for i in (1, 2)
    ]
    right = dict(image_id=1, category_id=1, bbox=box, score=0.5)
    found = [dict(right, bbox=other), right]  # wrong before right, at one score
    counts = np.array([[2, 1]])
    values = ResampledCoco(evaluate(truth, found, whole=False)).values(counts)
    # wrong, right, wrong, right of three objects: 1/2 up to a recall of 2/3, which is 67 of 101
    assert values["mAP_50"][0] == pytest.approx(100 * 0.5 * 67 / 101)


def test_a_class_whose_objects_no_resample_has_is_left_out_of_the_mean():
    truth, found = scene(1)
    truth["annotations"] = [
        a for a in truth["annotations"] if a["category_id"] != 3 or a["image_id"] == 1
    ]
    counts = resamples(1)
    counts[0, 0] = 0
    values = ResampledCoco(evaluate(truth, found, whole=False)).values(counts)
    check(values, 0, evaluate(*copied(truth, found, counts[0])).stats)


def test_a_size_without_objects_has_no_number():
    truth, found = scene(2)
    truth["annotations"] = [a for a in truth["annotations"] if a["area"] > 32**2]
    values = ResampledCoco(evaluate(truth, found, whole=False)).values(resamples(3))
    assert np.isnan(values["mAP_s"]).all() and not np.isnan(values["mAP"]).any()


def test_more_than_100_detections_in_an_image_are_cut_as_pycocotools_cuts_them():
    truth, found = scene(3)
    found += [dict(found[0], score=0.9 - i / 1000) for i in range(150)]
    counts = resamples(2)
    values = ResampledCoco(evaluate(truth, found, whole=False)).values(counts)
    for row, times in enumerate(counts):
        check(values, row, evaluate(*copied(truth, found, times)).stats)


def test_many_resamples_in_pieces_are_what_they_are_in_one(monkeypatch):
    metric = ResampledCoco(evaluate(*scene(4), whole=False))
    whole = metric.values(resamples(20))
    monkeypatch.setattr(coco_resample, "ELEMENTS", 100)
    pieces = metric.values(resamples(20))
    for name, values in whole.items():
        np.testing.assert_array_equal(values, pieces[name])


@pytest.fixture
def files(tmp_path):
    truth, found = scene(5)
    (tmp_path / "truth.json").write_text(json.dumps(truth))
    (tmp_path / "found.json").write_text(json.dumps(found))
    return tmp_path / "truth.json", tmp_path / "found.json"


def test_files_are_matched_for_the_images_and_classes_that_were_evaluated(files):
    truth, found = (json.loads(path.read_text()) for path in files)
    some, classes = [2, 3, 5, 8], ["class 3", "class 1"]
    metric = ResampledCoco(match(*files, "bbox", some, classes))
    assert metric.image_ids == some
    truth["images"] = [image for image in truth["images"] if image["id"] in some]
    truth["categories"] = [c for c in truth["categories"] if c["name"] in classes]
    keep = [[e for e in es if e["image_id"] in some] for es in (truth["annotations"], found)]
    whole = evaluate(dict(truth, annotations=keep[0]), keep[1])
    check(metric.values(np.ones((1, 4), int)), 0, whole.stats)


def test_files_are_matched_with_100_detections_an_image(files):
    truth, found = (json.loads(path.read_text()) for path in files)
    found += [dict(found[0], score=0.9 + i / 10_000) for i in range(150)]
    files[1].write_text(json.dumps(found))
    values = ResampledCoco(match(*files, "bbox")).values(np.ones((1, IMAGES), int))
    check(values, 0, evaluate(truth, found).stats)


def test_a_detector_that_finds_nothing_scores_0(files):
    files[1].write_text("[]")
    values = ResampledCoco(match(*files, "bbox")).values(resamples(2))
    assert values["mAP"].tolist() == values["AR@100"].tolist() == [0, 0]


def test_masks_are_sized_by_their_own_area_and_not_by_their_box(tmp_path):
    # a thin diagonal: its box is large, its own area small, so it is a small detection alone
    image = dict(id=1, width=SIDE, height=SIDE)
    thin = [[0, 0, 4, 0, 200, 200, 196, 200]]
    annotation = dict(id=1, image_id=1, category_id=1, bbox=[400, 400, 20, 20], area=400, iscrowd=0)
    annotation["segmentation"] = [[400, 400, 420, 400, 420, 420, 400, 420]]
    truth = dict(images=[image], annotations=[annotation], categories=[dict(id=1, name="thing")])
    small = mask.frPyObjects(annotation["segmentation"], SIDE, SIDE)[0]
    wrong = mask.frPyObjects(thin, SIDE, SIDE)[0]
    found = [
        dict(image_id=1, category_id=1, score=s, segmentation=rle, bbox=[0, 0, 200, 200])
        for s, rle in ((0.5, small), (0.9, wrong))
    ]
    for detection in found:
        detection["segmentation"]["counts"] = detection["segmentation"]["counts"].decode()
    (tmp_path / "truth.json").write_text(json.dumps(truth))
    (tmp_path / "found.json").write_text(json.dumps(found))
    metric = ResampledCoco(match(tmp_path / "truth.json", tmp_path / "found.json", "segm"))
    assert metric.values(np.ones((1, 1), int))["mAP_s"][0] == pytest.approx(50)


@pytest.mark.parametrize(
    ("kwargs", "words"),
    [
        (dict(image_ids=[1, 99]), "no image id 99"),
        (dict(categories=["class 1", "unicorn"]), "no category 'unicorn'"),
    ],
)
def test_images_and_classes_that_the_ground_truth_lacks_are_named(files, kwargs, words):
    with pytest.raises(InputError, match=words):
        match(*files, "bbox", **kwargs)


def test_detections_of_other_images_are_no_detections_of_these(files):
    found = json.loads(files[1].read_text())
    files[1].write_text(json.dumps([*found, dict(found[0], image_id=77)]))
    with pytest.raises(InputError, match="can't be scored against .*truth.json"):
        match(*files, "bbox")


def test_files_that_are_missing_or_no_json_are_named(files, tmp_path):
    with pytest.raises(InputError, match="nowhere.json"):
        match(tmp_path / "nowhere.json", files[1], "bbox")
    files[1].write_text("{")
    with pytest.raises(InputError, match="found.json can't be scored"):
        match(*files, "bbox")
