"""COCO's metric equals pycocotools run by hand, and keeps what intervals need."""

import contextlib
import copy
import io
import json
import pickle

import numpy as np
import pytest
from metric_scenes import IDS, NAMES, SIDE, box_of, detections, encode, sample, scene, score
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from semaim_mm.dense.coco_metric import SampleCoco
from semaim_mm.errors import InputError


def coco_metric(folder, truth, metric=("bbox", "segm"), **kwargs):
    (folder / "truth.json").write_text(json.dumps(truth))
    built = SampleCoco(str(folder / "truth.json"), metric=metric, **kwargs)
    built.dataset_meta = dict(classes=NAMES)
    return built


def by_hand(folder, kind, images=None):
    """pycocotools on the files that the metric dumped -> COCOeval."""
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(str(folder / "truth.json"))
        found = truth.loadRes(str(folder / f"predictions.{kind}.json"))
        evaluation = COCOeval(truth, found, kind)
        if images is not None:
            evaluation.params.imgIds = images
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return evaluation


NAMED = ("mAP", "mAP_50", "mAP_75", "mAP_s", "mAP_m", "mAP_l")


@pytest.mark.parametrize("seed", range(4))
def test_ap_and_ar_equal_pycocotools_on_the_dumped_files(tmp_path, seed):
    truth, masks = scene(seed)
    assert any(a["iscrowd"] for a in truth["annotations"])
    metric = coco_metric(tmp_path, truth, dump_dir=tmp_path)
    metrics = score(metric, detections(masks, seed))
    assert metric.n_evaluated == 8
    assert len(metrics) == 14 and 5 < metrics["bbox_mAP"] < 95
    assert metrics["bbox_mAP"] != round(metrics["bbox_mAP"], 1)
    for kind in ("bbox", "segm"):
        assert metric.predictions[kind] == tmp_path / f"predictions.{kind}.json"
        stats = 100 * by_hand(tmp_path, kind).stats
        expected = dict(zip(NAMED, stats, strict=False)) | {"AR@100": stats[8]}
        for name, value in expected.items():
            assert metrics[f"{kind}_{name}"] == pytest.approx(value, abs=1e-9)


def test_sizes_of_masks_follow_the_masks_area_not_their_boxes(tmp_path):
    # a thin ring: its box is large, its mask of medium area
    grid = np.hypot(*(np.indices((SIDE, SIDE)) - 80))
    ring = (grid < 60) & (grid > 56)
    truth, _ = scene(0, images=1)
    one = dict(truth["annotations"][0], id=1, image_id=10, category_id=7, iscrowd=0)
    one |= dict(bbox=box_of(ring), area=int(ring.sum()), segmentation=encode(ring))
    assert 32**2 < ring.sum() < 96**2 < one["bbox"][2] * one["bbox"][3]
    metric = coco_metric(tmp_path, truth | dict(annotations=[one]))
    found = sample(10, [[20, 20, 140, 140], [20, 20, 140, 140]], [0.9, 0.5], [0, 0], [~ring, ring])
    metrics = score(metric, [found])
    assert "segm_mAP_l" not in metrics and "segm_mAP_s" not in metrics
    # the false alarm of the large mask does not count against the medium ones
    assert metrics["segm_mAP_m"] == pytest.approx(100)
    assert metrics["segm_mAP"] == pytest.approx(50)


def test_ap_by_category_averages_to_the_ap(tmp_path):
    truth, masks = scene(1)
    metric = coco_metric(tmp_path, truth, dump_dir=tmp_path)
    metrics = score(metric, detections(masks, 1))
    for kind in ("bbox", "segm"):
        assert list(metric.per_class[kind]) == list(NAMES)
        assert metrics[f"{kind}_mAP"] == pytest.approx(np.mean([*metric.per_class[kind].values()]))
        for name, value in metric.per_class[kind].items():
            evaluation = by_hand(tmp_path, kind)
            index = evaluation.params.catIds.index(IDS[name])
            assert value == pytest.approx(
                100 * evaluation.eval["precision"][:, :, index, 0, 2].mean(), abs=1e-9
            )


def test_a_category_and_a_size_without_objects_are_left_out(tmp_path):
    truth, masks = scene(2, sizes=((36, 90),))
    truth["annotations"] = [
        a for a in truth["annotations"] if a["category_id"] != 3 and 32**2 < a["area"] < 96**2
    ]
    metric = coco_metric(tmp_path, truth)
    metrics = score(metric, detections(masks, 2))
    assert {"bbox_mAP", "bbox_mAP_m", "segm_mAP_m"} <= set(metrics)
    assert not {"bbox_mAP_s", "bbox_mAP_l", "segm_mAP_s", "segm_mAP_l"} & set(metrics)
    assert "dog" not in metric.per_class["bbox"]


def test_a_detector_that_finds_nothing_scores_zero(tmp_path):
    truth, masks = scene(3)
    metric = coco_metric(tmp_path, truth, dump_dir=tmp_path / "kept")
    metrics = score(metric, [sample(image, [], [], [], []) for image in masks])
    assert set(metrics.values()) == {0.0} and len(metrics) == 14
    assert json.loads(metric.predictions["segm"].read_text()) == []


def test_detections_on_empty_images_alone_score_zero_too(tmp_path):
    truth, masks = scene(3)
    box = [[5, 5, 90, 90]]
    samples = [
        sample(image, [], [], [], []) if objects else sample(image, box, [1.0], [0], [np.eye(SIDE)])
        for image, objects in masks.items()
    ]
    assert set(score(coco_metric(tmp_path, truth), samples).values()) == {0.0}


def test_the_order_and_the_split_over_processes_do_not_matter(tmp_path):
    truth, masks = scene(4, images=7)
    samples = detections(masks, 4)
    expected = score(coco_metric(tmp_path, truth), copy.deepcopy(samples))
    ranks = [coco_metric(tmp_path, truth) for _ in range(2)]
    # what mmengine does: every second image a process, the first image padded, then interleaved
    for rank, metric in enumerate(ranks):
        metric.process(None, [*copy.deepcopy(samples), copy.deepcopy(samples[0])][rank::2])
    parts = [pickle.loads(pickle.dumps(metric.results)) for metric in ranks]
    assert [len(part) for part in parts] == [4, 4]
    gathered = [pair for both in zip(*parts, strict=True) for pair in both][:7]
    assert ranks[0].compute_metrics(gathered) == expected
    assert ranks[0].compute_metrics(gathered[::-1]) == expected


def test_the_images_given_are_scored_not_all_of_the_file(tmp_path):
    truth, masks = scene(5)
    samples = detections(masks, 5)[:4]
    metric = coco_metric(tmp_path, truth, metric="bbox", dump_dir=tmp_path)
    metrics = score(metric, samples)
    assert metric.n_evaluated == 4
    assert metric.outcomes["image_id"].tolist() == sorted(s["img_id"] for s in samples)
    stats = by_hand(tmp_path, "bbox", images=[s["img_id"] for s in samples]).stats
    assert metrics["bbox_mAP"] == pytest.approx(100 * stats[0], abs=1e-9)
    assert stats[0] > by_hand(tmp_path, "bbox").stats[0]
    score(metric, detections(masks, 5))
    assert metric.outcomes == {}, "all of the file need no list"


def test_a_second_evaluation_gives_the_same_and_without_dump_dir_no_file_stays(tmp_path):
    truth, masks = scene(6)
    metric = coco_metric(tmp_path, truth)
    samples = detections(masks, 6)
    first = score(metric, copy.deepcopy(samples))
    assert metric.predictions == {} and [p.name for p in tmp_path.iterdir()] == ["truth.json"]
    metric.dump_dir = tmp_path / "kept"
    assert score(metric, samples) == first
    assert sorted(p.name for p in (tmp_path / "kept").iterdir()) == [
        "predictions.bbox.json",
        "predictions.segm.json",
    ]


def test_ground_truth_that_coco_scores_wrongly_or_not_at_all_is_named(tmp_path):
    truth, _ = scene(0)
    annotations = truth["annotations"]
    with pytest.raises(InputError, match=r"gone\.json is no readable COCO file"):
        SampleCoco(str(tmp_path / "gone.json"))
    (tmp_path / "list.json").write_text("[]")
    with pytest.raises(InputError, match="no readable COCO file"):
        SampleCoco(str(tmp_path / "list.json"))
    with pytest.raises(InputError, match="metric='boxes'"):
        coco_metric(tmp_path, truth, metric="boxes")
    lacking = [annotations[0], {k: v for k, v in annotations[1].items() if k != "iscrowd"}]
    with pytest.raises(InputError, match=r"1 of 2 annotations have no 'iscrowd' .*id 2"):
        coco_metric(tmp_path, truth | dict(annotations=lacking))
    boxes = [{k: v for k, v in a.items() if k != "segmentation"} for a in annotations]
    with pytest.raises(InputError, match="'segmentation'"):
        coco_metric(tmp_path, truth | dict(annotations=boxes))
    coco_metric(tmp_path, truth | dict(annotations=boxes), metric="bbox")
    zero = [dict(annotations[0], id=0), *annotations[1:]]
    with pytest.raises(InputError, match="id 0"):
        coco_metric(tmp_path, truth | dict(annotations=zero))
    with pytest.raises(InputError, match="1 repeated annotation ids"):
        coco_metric(tmp_path, truth | dict(annotations=[*annotations, annotations[-1]]))


def test_pycocotools_loses_the_match_of_an_annotation_with_the_id_0(tmp_path):
    truth, _ = scene(0, images=1)
    one = dict(truth["annotations"][0], iscrowd=0)
    found = [dict(image_id=10, category_id=one["category_id"], bbox=one["bbox"], score=1.0)]
    (tmp_path / "predictions.bbox.json").write_text(json.dumps(found))
    for number, expected in ((1, 1.0), (0, 0.0)):
        truth["annotations"] = [dict(one, id=number)]
        (tmp_path / "truth.json").write_text(json.dumps(truth))
        assert by_hand(tmp_path, "bbox").stats[0] == pytest.approx(expected)


def test_classes_that_are_not_the_files_categories_are_named_before_the_test(tmp_path):
    metric = coco_metric(tmp_path, scene(0)[0])
    for classes in (("cat", "dog", "cow"), ("dog", "cat", "emu")):
        with pytest.raises(InputError, match=r"3 classes .* 3 categories of .*truth\.json"):
            metric.dataset_meta = dict(classes=classes)
    metric.dataset_meta = dict(classes=("cat", "emu"))
    assert metric.cat_ids == [7, 12]


def test_unknown_repeated_and_no_images_and_missing_masks_are_named(tmp_path):
    truth, masks = scene(0)
    samples = detections(masks, 0)
    metric = coco_metric(tmp_path, truth)
    with pytest.raises(InputError, match="no image with the id 99"):
        metric.process(None, [dict(samples[0], img_id=99)])
    with pytest.raises(InputError, match="1 images more than once .*id 10"):
        score(metric, [*samples, samples[0]])
    with pytest.raises(InputError, match="no image to evaluate"):
        metric.compute_metrics([])
    del samples[0]["pred_instances"]["masks"]
    with pytest.raises(InputError, match="without masks"):
        metric.process(None, samples[:1])
    score(coco_metric(tmp_path, truth, metric="bbox"), samples)


def test_images_without_objects_have_no_ap(tmp_path):
    truth, masks = scene(0)
    metric = coco_metric(tmp_path, truth)
    empty = [sample(image, [], [], [], []) for image, objects in masks.items() if not objects]
    with pytest.raises(InputError, match="2 images evaluated have no object"):
        score(metric, empty)


# --- mean IoU
