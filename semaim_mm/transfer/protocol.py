"""Evaluation of frozen features as a test loop of mmengine's runner."""

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import torch
from mmengine.logging import print_log
from mmengine.registry import LOOPS, Registry
from mmengine.runner import BaseLoop, Runner
from torch import Tensor

from semaim_mm.errors import InputError
from semaim_mm.runtime.hooks import unwrap
from semaim_mm.transfer.feature_store import GIB, FeatureStore
from semaim_mm.transfer.features import extract_features, feature_shapes, part_shapes
from semaim_mm.transfer.split import balanced_share

PROTOCOLS = Registry("feature protocol", scope="mmpretrain")


class Outcome(NamedTuple):
    """Metrics in percent, whether each test image was right (M,), and what was chosen how."""

    metrics: dict[str, float]
    correct: Tensor
    chosen: Mapping[str, Any] = MappingProxyType({})


@LOOPS.register_module()
class FeatureTestLoop(BaseLoop):
    """Extract features of the training and the test set once, then let a protocol judge them.

    Features go to files (``FeatureStore``), so that no process holds a data set's. All that can be
    known to fail does so before the extraction: a protocol's ``check`` sees the number of training
    images, its ``check_labels`` (if it has one) their labels, and the disk is measured.

    Args:
        dataloader: of the test set.
        evaluator: config of a protocol: KNN, LinearProbe, LogisticRegression.
        bank_dataloader: of the training set, under the same test-time transforms.
        cache_dir: folder of the feature files, seen by all processes; default work_dir/features.
        storage: 'float32', 'float16', 'bfloat16', or 'auto' (float32 up to 8 GiB, else float16).
        keep_features: leave the files there.
    """

    def __init__(
        self,
        runner: Runner,
        dataloader: dict,
        evaluator: dict,
        bank_dataloader: dict,
        cache_dir: str | None = None,
        storage: str = "auto",
        keep_features: bool = False,
    ):
        super().__init__(runner, dataloader)
        self.bank_dataloader = runner.build_dataloader(bank_dataloader, seed=runner.seed)
        self.protocol = PROTOCOLS.build(evaluator)
        self.outcome: Outcome | None = None
        folder = Path(runner.work_dir) / "features" if cache_dir is None else cache_dir
        self.store = FeatureStore(folder, storage, keep=keep_features)
        bank = self.bank_dataloader.dataset
        _check_classes(bank, self.dataloader.dataset)
        self.protocol.check(len(bank))
        self.shares = {}
        model = unwrap(runner.model)
        share = model.attentive_share if "attentive" in model.poolings else 1.0
        check_labels = getattr(self.protocol, "check_labels", None)
        if check_labels is None and share == 1:
            return
        labels = torch.tensor([bank.get_data_info(i)["gt_label"] for i in range(len(bank))])
        if share < 1:
            self.shares["train"] = balanced_share(labels, share, seed=0)
        if check_labels is not None:
            check_labels(labels)
            if share < 1:
                check_labels(labels[self.shares["train"]])

    def run(self) -> dict[str, float]:
        """-> metrics; per-image outcomes stay in ``outcome``."""
        runner = self.runner
        runner.call_hook("before_test")
        model = unwrap(runner.model)
        # the backbone's weights come through its init_cfg; mmengine initialises only to train
        model.init_weights()
        device = next(iter(model.buffers())).device
        classes = len(self.dataloader.dataset.metainfo["classes"])
        with torch.random.fork_rng(devices=[]), self.store as store:
            self._plan(model, device, classes)
            bank = extract_features(model, self.bank_dataloader, device, store.files["train"])
            test = extract_features(model, self.dataloader, device, store.files["test"])
            found = self.protocol.evaluate(bank, test, classes, device)
            # tables point into files that go now
            del bank, test
        self.outcome = found._replace(chosen={**found.chosen, "features_stored_as": store.storage})
        runner.call_hook("after_test_epoch", metrics=self.outcome.metrics)
        runner.call_hook("after_test")
        return self.outcome.metrics

    def _plan(self, model: Any, device: torch.device, classes: int) -> None:
        """Lay the feature files out, and say what disk and memory they will take."""
        shapes = part_shapes(model, self.bank_dataloader, device)
        sizes = dict(train=len(self.bank_dataloader.dataset), test=len(self.dataloader.dataset))
        self.store.plan(shapes, sizes, self.shares, model.max_token_gib)
        memory = getattr(self.protocol, "memory", None)
        if memory is not None:
            bound = memory(feature_shapes(model.recipes, shapes), classes)
            print_log(
                f"{type(self.protocol).__name__}: at most {bound / GIB:.2f} GiB of {device} memory "
                "beside the backbone's, however many images there are",
                logger="current",
            )


def _check_classes(train: Any, val: Any) -> None:
    ours, theirs = train.metainfo["classes"], val.metainfo["classes"]
    if tuple(ours) != tuple(theirs):
        raise InputError(
            f"Training and test set have different classes: only in training "
            f"{sorted(set(ours) - set(theirs))[:5]}, only in test "
            f"{sorted(set(theirs) - set(ours))[:5]}; make the class folders agree."
        )
