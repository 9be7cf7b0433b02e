"""Evaluation of frozen features as a test loop of mmengine's runner."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import torch
from mmengine.registry import LOOPS, Registry
from mmengine.runner import BaseLoop, Runner
from torch import Tensor

from semaim_mm.errors import InputError
from semaim_mm.runtime.hooks import unwrap
from semaim_mm.transfer.features import extract_features

PROTOCOLS = Registry("feature protocol", scope="mmpretrain")


class Outcome(NamedTuple):
    """Metrics in percent, whether each test image was right (M,), and what was chosen how."""

    metrics: dict[str, float]
    correct: Tensor
    chosen: Mapping[str, Any] = MappingProxyType({})


@LOOPS.register_module()
class FeatureTestLoop(BaseLoop):
    """Extract features of the training and the test set once, then let a protocol judge them.

    Args:
        dataloader: of the test set.
        evaluator: config of a protocol: KNN, LinearProbe.
        bank_dataloader: of the training set, under the same test-time transforms.
    """

    def __init__(self, runner: Runner, dataloader: dict, evaluator: dict, bank_dataloader: dict):
        super().__init__(runner, dataloader)
        self.bank_dataloader = runner.build_dataloader(bank_dataloader, seed=runner.seed)
        self.protocol = PROTOCOLS.build(evaluator)
        self.outcome: Outcome | None = None
        _check_classes(self.bank_dataloader.dataset, self.dataloader.dataset)
        self.protocol.check(len(self.bank_dataloader.dataset))

    def run(self) -> dict[str, float]:
        """-> metrics; per-image outcomes stay in ``outcome``."""
        runner = self.runner
        runner.call_hook("before_test")
        model = unwrap(runner.model)
        # the backbone's weights come through its init_cfg; mmengine initialises only to train
        model.init_weights()
        device = next(iter(model.buffers())).device
        classes = len(self.dataloader.dataset.metainfo["classes"])
        with torch.random.fork_rng(devices=[]):
            bank = extract_features(model, self.bank_dataloader, device)
            test = extract_features(model, self.dataloader, device)
            self.outcome = self.protocol.evaluate(bank, test, classes, device)
        runner.call_hook("after_test_epoch", metrics=self.outcome.metrics)
        runner.call_hook("after_test")
        return self.outcome.metrics


def _check_classes(train: Any, val: Any) -> None:
    ours, theirs = train.metainfo["classes"], val.metainfo["classes"]
    if tuple(ours) != tuple(theirs):
        raise InputError(
            f"Training and test set have different classes: only in training "
            f"{sorted(set(ours) - set(theirs))[:5]}, only in test "
            f"{sorted(set(theirs) - set(ours))[:5]}; make the class folders agree."
        )
