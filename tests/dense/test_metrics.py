"""Dense metrics equal pycocotools and a confusion matrix, and keep what intervals need."""

import contextlib
import copy
import io
import json
import pickle

import numpy as np
import pytest
import torch
from mmengine.evaluator import Evaluator
from mmseg.evaluation import IoUMetric
from pycocotools import mask as rle
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from semaim_mm.dense.coco_metric import SampleCoco
from semaim_mm.dense.iou_metric import SampleIoU
from semaim_mm.errors import InputError

SIDE, NAMES = 160, ("cat", "dog", "emu")
IDS = dict(zip(NAMES, (7, 3, 12), strict=True))  # neither sorted nor from 0, as in real files


def ellipse(random, low, high):
    """A filled ellipse of random size and place -> (SIDE, SIDE) bool."""
    radii = random.uniform(low, high, 2) / 2
    center = random.uniform(0.3 * SIDE, 0.7 * SIDE, 2)
    grid = np.indices((SIDE, SIDE)).transpose(1, 2, 0)
    return (((grid - center) / radii) ** 2).sum(-1) <= 1


def box_of(mask):
    """(H, W) bool -> x, y, width, height."""
    rows, columns = np.nonzero(mask)
    x, y = columns.min(), rows.min()
    return [int(x), int(y), int(columns.max() - x + 1), int(rows.max() - y + 1)]


def encode(mask):
    found = rle.encode(np.asfortranarray(mask.astype(np.uint8)))
    return dict(size=found["size"], counts=found["counts"].decode())


def scene(seed, sizes=((6, 28), (36, 90), (110, 150)), images=8):
    """Random objects, crowds, empty images -> COCO-format ground truth; masks by image."""
    random = np.random.default_rng(seed)
    annotations, masks = [], {}
    for image in range(images):
        masks[10 + image] = []
        for _ in range(0 if image % 4 == 3 else random.integers(1, 6)):
            mask = ellipse(random, *sizes[random.integers(len(sizes))])
            if mask.sum() < 4:
                continue
            name = NAMES[random.integers(3)]
            crowd = int(random.random() < 0.15)
            annotations.append(
                dict(
                    id=len(annotations) + 1,
                    image_id=10 + image,
                    category_id=IDS[name],
                    bbox=box_of(mask),
                    area=int(mask.sum()),
                    iscrowd=crowd,
                    segmentation=encode(mask),
                )
            )
            masks[10 + image].append((name, mask))
    truth = dict(
        images=[dict(id=key, file_name=f"{key}.jpg", width=SIDE, height=SIDE) for key in masks],
        annotations=annotations,
        categories=[dict(id=key, name=name) for name, key in IDS.items()],
    )
    return truth, masks


def detections(masks, seed, extra=2):
    """Objects moved by some pixels, some with a wrong class, and false alarms -> data samples."""
    random = np.random.default_rng(seed)
    samples = []
    for image, objects in masks.items():
        found = [(name, np.roll(mask, random.integers(-4, 5, 2), (0, 1))) for name, mask in objects]
        found += [
            (NAMES[random.integers(3)], m)
            for _ in range(extra)
            if (m := ellipse(random, 8, 90)).any()
        ]
        labels = [NAMES.index(name) if random.random() > 0.1 else 0 for name, _ in found]
        boxes = np.array([box_of(mask) for _, mask in found], dtype=np.float32).reshape(-1, 4)
        boxes[:, 2:] += boxes[:, :2]
        boxes += random.normal(scale=1.5, size=boxes.shape)
        # few scores, so that many tie
        scores = random.integers(1, 9, len(found)) / 9
        samples.append(sample(image, boxes, scores, labels, [mask for _, mask in found]))
    return samples


def sample(image, boxes, scores, labels, masks):
    masks = np.array(masks, dtype=bool).reshape(-1, SIDE, SIDE)
    return dict(
        img_id=image,
        ori_shape=(SIDE, SIDE),
        pred_instances=dict(
            bboxes=torch.tensor(np.asarray(boxes, dtype=np.float32).reshape(-1, 4)),
            scores=torch.tensor(np.asarray(scores, dtype=np.float32)),
            labels=torch.tensor(np.asarray(labels, dtype=np.int64)),
            masks=torch.tensor(masks),
        ),
    )


def coco_metric(folder, truth, metric=("bbox", "segm"), **kwargs):
    (folder / "truth.json").write_text(json.dumps(truth))
    built = SampleCoco(str(folder / "truth.json"), metric=metric, **kwargs)
    built.dataset_meta = dict(classes=NAMES)
    return built


def score(metric, samples):
    """Two a batch through mmengine's evaluator -> metrics."""
    evaluator = Evaluator(metric)
    for start in range(0, len(samples), 2):
        evaluator.process(samples[start : start + 2])
    return evaluator.evaluate(len(samples))


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
    stats = by_hand(tmp_path, "bbox", images=[s["img_id"] for s in samples]).stats
    assert metrics["bbox_mAP"] == pytest.approx(100 * stats[0], abs=1e-9)
    assert stats[0] > by_hand(tmp_path, "bbox").stats[0]


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


def confusion(pairs, classes, ignore=255):
    """The ten lines: label maps and predictions -> aAcc, mIoU, mAcc in percent."""
    table = np.zeros((classes, classes))
    for label, predicted in pairs:
        for truth, ours in zip(label.flat, predicted.flat, strict=True):
            if truth != ignore:
                table[truth, ours] += 1
    hits = np.diag(table)
    with np.errstate(invalid="ignore"):
        iou = hits / (table.sum(0) + table.sum(1) - hits)
        accuracy = hits / table.sum(1)
    return 100 * hits.sum() / table.sum(), 100 * np.nanmean(iou), 100 * np.nanmean(accuracy), iou


def label_maps(seed, classes=6, absent=5, images=7):
    """Label maps of several sizes with ignored pixels, and predictions that are right half."""
    random = np.random.default_rng(seed)
    pairs = []
    for image in range(images):
        shape = random.integers(5, 24, 2)
        label = random.integers(0, classes, shape)
        label[label == absent] = 0
        predicted = np.where(random.random(shape) < 0.5, label, random.integers(0, absent, shape))
        label[random.random(shape) < (1 if image == 2 else 0.2)] = 255
        pairs.append((label, predicted))
    return pairs


def seg_samples(pairs):
    return [
        dict(
            seg_map_path=f"{number}.png",
            pred_sem_seg=dict(data=torch.tensor(predicted)[None]),
            gt_sem_seg=dict(data=torch.tensor(label)[None]),
        )
        for number, (label, predicted) in enumerate(pairs)
    ]


def iou_metric(classes=6, cls=SampleIoU, **kwargs):
    metric = cls(**kwargs)
    metric.dataset_meta = dict(classes=[f"class {number}" for number in range(classes)])
    return metric


@pytest.mark.parametrize("seed", range(4))
def test_miou_equals_a_confusion_matrix(seed):
    pairs = label_maps(seed)
    metric = iou_metric()
    metrics = score(metric, seg_samples(pairs))
    *expected, iou = confusion(pairs, 6)
    assert list(metrics) == ["aAcc", "mIoU", "mAcc"]
    assert list(metrics.values()) == pytest.approx(expected, abs=1e-9)
    # class 5 occurs nowhere: left out, not a 0
    assert np.isnan(iou[5]) and metric.n_classes_counted == 5
    assert metric.per_class["IoU"] == pytest.approx(
        {f"class {number}": 100 * iou[number] for number in range(5)}
    )


@pytest.mark.parametrize("seed", range(2))
def test_miou_rounds_to_mmsegs(seed):
    samples = seg_samples(label_maps(seed))
    theirs = score(iou_metric(cls=IoUMetric), samples)
    ours = score(iou_metric(), samples)
    assert set(ours) == set(theirs)
    for name, value in theirs.items():
        assert ours[name] == pytest.approx(value, abs=0.00501) and ours[name] != value


def test_the_counts_kept_are_each_images_and_give_the_metric_back():
    pairs = label_maps(9)
    metric = iou_metric()
    metrics = score(metric, seg_samples(pairs))
    kept = metric.outcomes
    assert metric.n_evaluated == 7
    assert list(kept) == ["intersection", "union", "predicted", "label"]
    assert all(a.shape == (7, 6) and a.dtype == np.int64 for a in kept.values())
    for row, (label, predicted) in enumerate(pairs):
        inside = label != 255
        for number in range(6):
            ours, theirs = inside & (predicted == number), inside & (label == number)
            assert kept["intersection"][row, number] == (ours & theirs).sum()
            assert kept["union"][row, number] == (ours | theirs).sum()
            assert kept["predicted"][row, number] == ours.sum()
            assert kept["label"][row, number] == theirs.sum()
    total = {name: counts.sum(0) for name, counts in kept.items()}
    with np.errstate(invalid="ignore"):
        again = 100 * np.nanmean(total["intersection"] / total["union"])
        accuracy = 100 * np.nanmean(total["intersection"] / total["label"])
    assert metrics["mIoU"] == pytest.approx(again, abs=1e-9)
    assert metrics["mAcc"] == pytest.approx(accuracy, abs=1e-9)
    assert metrics["aAcc"] == 100 * total["intersection"].sum() / total["label"].sum()


def test_a_class_only_predicted_counts_as_zero_and_dtypes_do_not_matter():
    label, predicted = np.array([[0, 0, 1, 255]]), np.array([[0, 2, 1, 3]])
    samples = seg_samples([(label, predicted)])
    metric = iou_metric(classes=4)
    metrics = score(metric, samples)
    assert metrics["mIoU"] == pytest.approx(100 * (1 / 2 + 1 + 0) / 3)
    assert metrics["mAcc"] == pytest.approx(100 * (1 / 2 + 1) / 2)
    assert metric.n_classes_counted == 3 and "class 2" not in metric.per_class["Acc"]
    # int32 predictions and 8-bit labels, as other loaders give them
    samples[0]["pred_sem_seg"]["data"] = samples[0]["pred_sem_seg"]["data"].int()
    samples[0]["gt_sem_seg"]["data"] = samples[0]["gt_sem_seg"]["data"].byte()
    assert score(iou_metric(classes=4), samples) == metrics


def test_counts_beyond_float32_stay_exact():
    metric = iou_metric(classes=2)
    row = np.array([[2**24, 3], [2**24, 4], [2**24, 3], [2**24, 4]])
    metric.compute_metrics([row, np.array([[1, 0], [2, 0], [2, 0], [1, 0]])])
    assert metric.outcomes["union"].sum(0).tolist() == [2**24 + 2, 4]
    assert metric.per_class["IoU"]["class 0"] == 100 * (2**24 + 1) / (2**24 + 2)


def test_dice_is_available_as_in_mmseg():
    samples = seg_samples(label_maps(3))
    names = ["mIoU", "mDice", "mFscore"]
    theirs = score(iou_metric(cls=IoUMetric, iou_metrics=names), samples)
    assert score(iou_metric(iou_metrics=names), samples) == pytest.approx(theirs, abs=0.006)


def test_faults_of_label_maps_are_named_with_their_file():
    good = np.zeros((4, 5), dtype=np.int64)
    bad = good.copy()
    bad[0, :3] = (7, 6, 7)
    metric = iou_metric()
    with pytest.raises(InputError, match=r"0\.png: 3 pixels are labelled \[6, 7\].* 0 to 5"):
        metric.process(None, seg_samples([(bad, good)]))
    with pytest.raises(InputError, match=r"0\.png: 3 pixels are predicted \[6, 7\].*num_classes"):
        metric.process(None, seg_samples([(good, bad)]))
    # an 8-bit prediction does not fold the label into its own range
    samples = seg_samples([(good + 256, good)])
    samples[0]["pred_sem_seg"]["data"] = samples[0]["pred_sem_seg"]["data"].byte()
    with pytest.raises(InputError, match=r"20 pixels are labelled \[256\]"):
        metric.process(None, samples)
    with pytest.raises(InputError, match=r"0\.png has 5 x 4 pixels, its prediction 4 x 5"):
        metric.process(None, seg_samples([(good.T, good)]))
    with pytest.raises(InputError, match="LoadAnnotations"):
        metric.process(
            None, [{k: v for k, v in seg_samples([(good, good)])[0].items() if k[0] != "g"}]
        )
    with pytest.raises(InputError, match="All pixels of the 1 label maps are 255"):
        score(metric, seg_samples([(np.full((2, 2), 255), np.zeros((2, 2), dtype=np.int64))]))
    with pytest.raises(InputError, match="no image to evaluate"):
        metric.compute_metrics([])
