"""Small hooks that every run uses: the step's seed, and images per second."""

import random

import numpy as np
import torch
from mmengine.hooks import Hook, IterTimerHook, RuntimeInfoHook
from mmengine.model import BaseTTAModel, is_model_wrapper
from mmengine.registry import HOOKS
from mmengine.runner import BaseLoop
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from semaim_mm.errors import InputError
from semaim_mm.runtime.late import log_late
from semaim_mm.runtime.secrets import without_secrets


def unwrap(model: nn.Module) -> nn.Module:
    """The model inside a DistributedDataParallel or test-time-augmentation wrapper, or itself."""
    while is_model_wrapper(model) or isinstance(model, BaseTTAModel):
        model = model.module
    return model


def has_batch_norm(model: nn.Module) -> bool:
    """Whether a batch norm of the model trains or takes statistics."""
    return any(isinstance(module, _BatchNorm) for module in model.modules())


@HOOKS.register_module()
class SeedStepHook(Hook):
    """Seeds what draws inside a step (drop path, mixup) by (seed, iteration, rank).

    So a resumed run draws what an uninterrupted one would have drawn.
    """

    priority = "VERY_HIGH"

    def before_train_iter(self, runner, batch_idx, data_batch=None) -> None:
        key = (runner.seed, runner.iter, runner.rank)
        numbers = np.random.SeedSequence(key).generate_state(3)
        random.seed(int(numbers[0]))
        np.random.seed(numbers[1])
        torch.manual_seed(int(numbers[2]))


@HOOKS.register_module()
class LateInfoHook(RuntimeInfoHook):
    """mmengine's hook; a step's losses are read when they are logged, not in every step.

    What it tells of the data set, which checkpoints keep, has no secrets.
    """

    def before_train(self, runner) -> None:
        super().before_train(runner)
        told = runner.message_hub.runtime_info.get("dataset_meta")
        runner.message_hub.update_info("dataset_meta", without_secrets(told))

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        for key, value in (outputs or {}).items():
            log_late(runner.message_hub, f"train/{key}", value)


@HOOKS.register_module()
class ThroughputHook(IterTimerHook):
    """mmengine's timer (time, data_time, ETA), and images per second over all processes."""

    def _after_iter(self, runner, batch_idx, data_batch=None, outputs=None, mode="train") -> None:
        super()._after_iter(runner, batch_idx, data_batch, outputs, mode)
        seconds = runner.message_hub.get_scalar(f"{mode}/time").current()
        if mode == "train" and seconds > 0 and data_batch is not None:
            images = len(data_batch["data_samples"]) * runner.world_size
            runner.message_hub.update_scalar("train/images_per_s", images / seconds)


@HOOKS.register_module()
class ClassCountHook(Hook):
    """Stops a model whose head, training set and validation set disagree on the classes."""

    def before_run(self, runner) -> None:
        head = class_head(unwrap(runner.model))
        # the loops of this run alone: asking the runner for another one would build its data set
        loops = dict(
            training=runner._train_loop, validation=runner._val_loop, test=runner._test_loop
        )
        seen = {
            name: tuple(loop.dataloader.dataset.metainfo["classes"])
            for name, loop in loops.items()
            if isinstance(loop, BaseLoop)
        }
        for name, classes in seen.items():
            if len(classes) != head.num_classes:
                raise InputError(
                    f"The {name} set has {len(classes)} classes, but the head has num_classes="
                    f"{head.num_classes}; set num_classes={len(classes)}, or check the data folder."
                )
        if len(set(seen.values())) > 1:
            only = {
                n: sorted(set(c) - set.intersection(*map(set, seen.values())))
                for n, c in seen.items()
            }
            raise InputError(
                "Training and validation set have different classes, or another order of them: "
                + "; ".join(f"only in {name}: {', '.join(c[:5])}" for name, c in only.items() if c)
                + ". Make them agree."
            )


def class_head(model: nn.Module) -> nn.Module:
    """The part of a classifier, detector or segmenter that has the ``num_classes``."""
    if hasattr(model, "roi_head"):
        return model.roi_head.bbox_head
    return model.decode_head if hasattr(model, "decode_head") else model.head
