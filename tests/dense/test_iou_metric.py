"""mIoU equals a confusion matrix, and what is kept by image gives it back."""

import numpy as np
import pytest
import torch
from metric_scenes import score
from mmseg.evaluation import IoUMetric

from semaim_mm.dense.iou_metric import SampleIoU
from semaim_mm.errors import InputError


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
