"""What a pretraining costs: epochs, images, model FLOPs and device hours, kept in its checkpoints.

FLOPs are counted on one real forward and backward of the model at hand (2 per multiply-add), so
every method is measured by the same rule.
"""

import time

import torch
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import Runner
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from semaim_mm.data.keyed import seeded
from semaim_mm.pretrain.compiled import uncompiled_copy
from semaim_mm.runtime.hooks import unwrap


def step_flops(model: nn.Module, batch: dict, images: int = 2) -> float:
    """Model FLOPs of one training image: forward and backward on a batch's first images.

    Runs on a copy, and leaves every random state as it was. Causal attention counts as full.
    """
    inputs = batch["inputs"]
    inputs = [view[:images] for view in inputs] if isinstance(inputs, list) else inputs[:images]
    batch = dict(inputs=inputs, data_samples=batch["data_samples"][:images])
    images = len(batch["data_samples"])
    model = uncompiled_copy(unwrap(model))
    devices = [torch.cuda.current_device()] if torch.cuda.is_available() else []
    counter = FlopCounterMode(display=False)
    # the counter knows no fused attention on the CPU; the plain one multiplies the same matrices
    with seeded(0), torch.random.fork_rng(devices=devices), sdpa_kernel(SDPBackend.MATH), counter:
        losses = model(**model.data_preprocessor(batch, True), mode="loss")
        model.parse_losses(losses)[0].backward()
    return counter.get_total_flops() / images


@HOOKS.register_module()
class BudgetHook(Hook):
    """Counts the budget of a run and writes it into every checkpoint's ``meta['budget']``."""

    def __init__(self):
        self.flops_per_image: float | None = None
        self.device_seconds = 0.0
        self.images = 0
        self._since = time.monotonic()

    def before_train(self, runner: Runner) -> None:
        self._since = time.monotonic()

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch=None) -> None:
        if self.flops_per_image is None:
            self.flops_per_image = step_flops(runner.model, data_batch)

    def after_train_iter(self, runner: Runner, batch_idx: int, data_batch=None, outputs=None):
        now = time.monotonic()
        self.device_seconds += (now - self._since) * runner.world_size
        self._since = now
        self.images += len(data_batch["data_samples"]) * runner.world_size

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        checkpoint["meta"]["budget"] = dict(
            epochs=checkpoint["meta"]["epoch"],
            images=self.images,
            flops=self.images * (self.flops_per_image or 0.0),
            device_hours=self.device_seconds / 3600,
        )

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        budget = checkpoint.get("meta", {}).get("budget")
        if budget is not None and runner.train_loop is not None:
            self.images = budget["images"]
            self.device_seconds = budget["device_hours"] * 3600
