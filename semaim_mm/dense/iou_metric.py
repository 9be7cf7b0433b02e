"""Mean IoU in exact counts, kept for every image so that intervals can be recomputed."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from mmengine.logging import print_log
from mmengine.registry import METRICS
from mmseg.evaluation import IoUMetric
from torch import Tensor

from semaim_mm.errors import InputError

COUNTS = ("intersection", "union", "predicted", "label")


@METRICS.register_module()
class SampleIoU(IoUMetric):
    """aAcc, mIoU and mAcc in percent as mmseg defines them, neither rounded nor summed in float32.

    A class is left out of mIoU where no image has it in label or prediction, out of mAcc where no
    label has it.

    Args:
        ignore_index: label of pixels that don't count.
        iou_metrics: 'mIoU', 'mDice', 'mFscore', as mmseg's.

    Attributes:
        n_evaluated: N, images scored.
        n_classes_counted: classes that the mean over IoU has.
        outcomes: ``intersection``, ``union``, ``predicted`` and ``label``, pixels of each image and
            class, (N, C) int64 in the data set's order; their sums over images give the metrics.
        per_class: percent by measure ('IoU', 'Acc') and class, the undefined left out.

    Raises:
        InputError: a label map of another size than the prediction, labels or predictions that are
            no class, no label map, no labelled pixel at all.
    """

    default_prefix = None

    def __init__(self, ignore_index: int = 255, iou_metrics: str | Sequence[str] = ("mIoU",)):
        names = [iou_metrics] if isinstance(iou_metrics, str) else list(iou_metrics)
        super().__init__(ignore_index=ignore_index, iou_metrics=names, collect_device="cpu")
        self.n_evaluated: int | None = None
        self.n_classes_counted: int | None = None
        self.outcomes: dict[str, np.ndarray] | None = None
        self.per_class: dict[str, dict[str, float]] = {}

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        classes = len(self.dataset_meta["classes"])
        for sample in data_samples:
            if "gt_sem_seg" not in sample:
                raise InputError(
                    f"{sample.get('img_path', 'An image')} came without its label map; the test "
                    "pipeline needs LoadAnnotations, after any resize."
                )
            predicted = sample["pred_sem_seg"]["data"].squeeze(0).long()
            label = sample["gt_sem_seg"]["data"].squeeze(0).to(predicted)
            name = sample.get("seg_map_path", "a label map")
            if label.shape != predicted.shape:
                raise InputError(
                    f"{name} has {label.shape[0]} x {label.shape[1]} pixels, its prediction "
                    f"{predicted.shape[0]} x {predicted.shape[1]}; a label map has its image's "
                    "size, and LoadAnnotations stands after any resize in the test pipeline."
                )
            self.results.append(self._count(predicted, label, classes, name))

    def _count(self, predicted: Tensor, label: Tensor, classes: int, name: str) -> np.ndarray:
        """Two maps (H, W) -> pixels by COUNTS and class, (4, C) int64."""
        counted = label != self.ignore_index
        predicted, label = predicted[counted], label[counted]
        for values, what, remedy in (
            (label, "labelled", "check reduce_zero_label and the classes of the data set"),
            (predicted, "predicted", "set num_classes of the heads to that of the data set"),
        ):
            wrong = values[(values < 0) | (values >= classes)]
            if len(wrong):
                raise InputError(
                    f"{name}: {len(wrong)} pixels are {what} {wrong.unique()[:5].tolist()}, but "
                    f"the data set has the classes 0 to {classes - 1}; {remedy}."
                )
        hits, ours, theirs = (
            torch.bincount(values, minlength=classes)
            for values in (label[label == predicted], predicted, label)
        )
        return torch.stack([hits, ours + theirs - hits, ours, theirs]).cpu().numpy()

    def compute_metrics(self, results: list[np.ndarray]) -> dict[str, float]:
        if not results:
            raise InputError("The test set gave no image to evaluate; check test_dataloader.")
        counts = np.stack(results, axis=1)
        self.n_evaluated = counts.shape[1]
        self.outcomes = dict(zip(COUNTS, counts, strict=True))
        if not self.outcomes["label"].any():
            raise InputError(
                f"All pixels of the {self.n_evaluated} label maps are {self.ignore_index}, which "
                "does not count; check the label maps and reduce_zero_label."
            )
        totals = (torch.from_numpy(count.sum(0)).double() for count in counts)
        values = self.total_area_to_metrics(*totals, self.metrics, beta=self.beta)
        metrics = {"aAcc": 100 * float(values.pop("aAcc"))}
        names = self.dataset_meta["classes"]
        self.per_class = {
            measure: {
                name: 100 * float(value)
                for name, value in zip(names, by_class, strict=True)
                if np.isfinite(value)
            }
            for measure, by_class in values.items()
        }
        metrics |= {f"m{name}": 100 * float(np.nanmean(found)) for name, found in values.items()}
        self.n_classes_counted = int((self.outcomes["union"].sum(0) > 0).sum())
        print_log(self._table(), "current")
        return metrics

    def _table(self) -> str:
        """-> one line a class, for the log."""
        names = self.dataset_meta["classes"]
        lines = [f"{self.n_classes_counted} of {len(names)} classes occur and are counted"]
        for name in names:
            found = [(k, values[name]) for k, values in self.per_class.items() if name in values]
            lines.append("  ".join([f"{name:<24}", *(f"{k} {value:6.2f}" for k, value in found)]))
        return "\n".join(lines)
