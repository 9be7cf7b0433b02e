"""Numeric precision by one key: 'auto', 'auto-fp16', 'fp32', 'bf16' or 'fp16'."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from mmengine.device import get_device
from mmengine.optim import AmpOptimWrapper, OptimWrapper
from mmengine.registry import OPTIM_WRAPPERS
from torch import nn

from semaim_mm.errors import InputError
from semaim_mm.runtime.reliable.finite import FiniteGuard

CHOICES = ("auto", "auto-fp16", "fp32", "bf16", "fp16")


@OPTIM_WRAPPERS.register_module()
class Float32OptimWrapper(FiniteGuard, OptimWrapper):
    """mmengine's wrapper, which leaves out updates that are not finite."""


@OPTIM_WRAPPERS.register_module()
class Float16OptimWrapper(FiniteGuard, AmpOptimWrapper):
    """mmengine's autocast and loss scaler, which leaves out updates whose loss is not finite."""


@OPTIM_WRAPPERS.register_module()
class BFloat16OptimWrapper(FiniteGuard, OptimWrapper):
    """Autocast to bfloat16 on any device, without the loss scaler that only fp16 needs."""

    @contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[None]:
        device = get_device().split(":")[0]
        with super().optim_context(model), torch.autocast(device, dtype=torch.bfloat16):
            yield


def resolve_precision(choice: str, device: str) -> str:
    """A config's choice and a device type -> 'fp32', 'bf16' or 'fp16'.

    ``auto`` is bf16 on accelerators and fp32 on the CPU, ``auto-fp16`` fp16 and fp32. Raises
    InputError for what the device can't do.
    """
    if choice not in CHOICES:
        raise InputError(f"precision={choice!r} is none of {', '.join(CHOICES)}; choose one.")
    if choice.startswith("auto"):
        on_accelerator = "fp16" if choice == "auto-fp16" else "bf16"
        return "fp32" if device == "cpu" else on_accelerator
    if choice == "fp16" and device == "cpu":
        raise InputError(
            "precision='fp16' needs an accelerator, and this process runs on the CPU; choose "
            "'fp32' or 'bf16', or 'auto'."
        )
    return choice


def wrapper_options(precision: str) -> dict:
    """'fp32', 'bf16' or 'fp16' -> the optimiser wrapper's type and its options."""
    return {
        "fp32": dict(type="Float32OptimWrapper"),
        "bf16": dict(type="BFloat16OptimWrapper"),
        "fp16": dict(type="Float16OptimWrapper", dtype="float16", loss_scale="dynamic"),
    }[precision]
