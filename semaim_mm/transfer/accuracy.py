"""Top-k accuracy that keeps, for every image, whether it was right: intervals need them."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from mmengine.evaluator import BaseMetric
from mmengine.registry import METRICS


@METRICS.register_module()
class SampleAccuracy(BaseMetric):
    """top-k accuracy in percent over the whole data set, in the data set's order.

    Args:
        topk: the k to report; k beyond the number of classes is left out.
        only_present: look at the scores of the classes that the data set has (its metainfo's
            ``present``) alone, e.g. the 200 of ImageNet-A.

    Attributes:
        n_evaluated: images scored.
        outcomes: ``correct``, whether the best class was right, (N,) bool.
    """

    default_prefix = None

    def __init__(self, topk: Sequence[int] = (1, 5), only_present: bool = False):
        super().__init__(collect_device="cpu")
        self.topk = tuple(topk)
        self.only_present = only_present
        self.n_evaluated: int | None = None
        self.outcomes: dict[str, np.ndarray] | None = None

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        for sample in data_samples:
            scores = sample["pred_score"].float().cpu()
            if self.only_present:
                mask = torch.ones_like(scores, dtype=torch.bool)
                mask[list(self.dataset_meta["present"])] = False
                scores = scores.masked_fill(mask, -torch.inf)
            ranked = scores.argsort(descending=True, stable=True)
            self.results.append((ranked == int(sample["gt_label"])).nonzero().item())

    def compute_metrics(self, results: list[int]) -> dict[str, float]:
        rank = torch.tensor(results)
        self.n_evaluated, self.outcomes = len(rank), dict(correct=(rank == 0).numpy())
        return {f"top{k}": 100 * (rank < k).double().mean().item() for k in self.topk}
