"""Steps that a NaN or Inf would spoil: left out on every rank, written down, and not for ever.

The guard sits in the optimiser's wrapper, between the gradient and the step.
"""

import json
import math
from pathlib import Path
from typing import Any

import torch
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import Runner
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from semaim_mm.errors import InputError
from semaim_mm.runtime.reliable.ranks import largest
from semaim_mm.runtime.reliable.save import tensors_of


class FiniteGuard:
    """Mixin of an OptimWrapper: no rank steps where a loss or a gradient of one is not finite.

    ``left_out`` describes the last update where it was left out, and is None where it was done.
    A ``loss_scaler`` (fp16) skips steps as part of its work; such a skip counts only once its scale
    is down at 1, for then the scale is not the reason.
    """

    left_out: dict[str, Any] | None = None
    _losses_finite: Tensor | None = None

    def update_params(self, loss: Tensor, *args: Any, **kwargs: Any) -> None:
        finite = torch.isfinite(loss.detach()).all()
        before = self._losses_finite
        self._losses_finite = finite if before is None else before & finite
        super().update_params(loss, *args, **kwargs)

    def step(self, **kwargs: Any) -> None:
        """Clip and step, as mmengine's wrappers do, unless something is not finite."""
        losses = True if self._losses_finite is None else bool(self._losses_finite)
        self._losses_finite, self.left_out = None, None
        if hasattr(self, "loss_scaler"):
            self._scaled_step(losses, **kwargs)
            return
        norm = self._gradient_norm()
        if largest(not (losses and math.isfinite(norm))):
            self.left_out = dict(grad_norm=norm, loss_finite=losses)
            return
        self.optimizer.step(**kwargs)

    def _gradient_norm(self) -> float:
        """-> the L2 norm of all gradients before clipping; clips."""
        if self.clip_grad_kwargs and self.grad_name == "grad_norm":
            self._clip_grad()  # tells the norm to the message hub
            return float(self.message_hub.get_scalar("train/grad_norm").current())
        gradients = [
            parameter.grad
            for group in self.optimizer.param_groups
            for parameter in group["params"]
            if parameter.grad is not None
        ]
        norm = float(nn.utils.get_total_norm(gradients)) if gradients else 0.0
        if self.clip_grad_kwargs:
            self._clip_grad()
        return norm

    def _scaled_step(self, losses: bool, **kwargs: Any) -> None:
        if largest(not losses):
            # the scaler did not see these gradients, so its scale stays what it is
            self.left_out = dict(grad_norm=None, loss_finite=losses)
            return
        scale = self.loss_scaler.get_scale()
        super().step(**kwargs)
        if self.loss_scaler.get_scale() < scale <= 1:
            self.left_out = dict(grad_norm=None, loss_finite=losses, loss_scale=scale)


@HOOKS.register_module()
class FiniteStepHook(Hook):
    """Writes every left-out update down, and stops the run after several in a row.

    ``left_out_updates.jsonl`` in the work dir (``.rankN`` before the suffix on other ranks) gets a
    line each: epoch, iter, gradient norm, whether this rank's loss was finite, and its samples.

    Args:
        stop_after: updates left out one after the other at which the run ends.
    """

    def __init__(self, stop_after: int = 3):
        if stop_after < 1:
            raise InputError(
                f"FiniteStepHook: stop_after={stop_after} must be at least 1; mend the config."
            )
        self.stop_after, self.in_a_row, self._samples = stop_after, 0, []

    def after_train_iter(self, runner: Runner, batch_idx: int, data_batch=None, outputs=None):
        self._samples += [_name(one) for one in (data_batch or {}).get("data_samples", ())]
        if not runner.optim_wrapper.should_update():
            return
        samples, self._samples = self._samples, []
        left_out = getattr(runner.optim_wrapper, "left_out", None)
        if left_out is None:
            self.in_a_row = 0
            return
        self.in_a_row += 1
        file = self._write(runner, dict(left_out, samples=samples))
        runner.logger.warning(
            f"the update at iteration {runner.iter + 1} was left out on every rank: a loss or "
            f"gradient is not finite ({self.in_a_row} in a row); its samples are in {file}"
        )
        if self.in_a_row >= self.stop_after:
            raise InputError(
                f"{self.in_a_row} updates in a row, up to iteration {runner.iter + 1}, had a loss "
                f"or gradient that is not finite; none was done, and the checkpoints are from "
                f"before. {file} names their samples and gradient norms; look at those, lower "
                "base_lr, or choose precision='fp32'."
            )

    def _write(self, runner: Runner, line: dict[str, Any]) -> Path:
        part = f".rank{runner.rank}" if runner.rank else ""
        path = Path(runner.work_dir, f"left_out_updates{part}.jsonl")
        line = dict(epoch=runner.epoch, iter=runner.iter + 1, **line)
        with path.open("a") as file:
            file.write(json.dumps({k: _plain(v) for k, v in line.items()}) + "\n")
        return path


def refuse_non_finite(model: nn.Module, optimizer_state: Any, path: str | Path) -> None:
    """Raise InputError where a weight, batch-norm statistic or optimiser state is not finite."""
    values = dict(model.named_parameters())
    for name, module in model.named_modules():
        if isinstance(module, _BatchNorm) and module.running_mean is not None:
            values |= {f"{name}.{key}": value for key, value in module.named_buffers(recurse=False)}
    states = [tensor for tensor in tensors_of(optimizer_state) if tensor.is_floating_point()]
    names = [name for name, value in values.items() if not bool(torch.isfinite(value).all())]
    if not names and all(bool(torch.isfinite(state).all()) for state in states):
        return
    what = f"{len(names)} weights ({', '.join(names[:3])})" if names else "the optimiser's state"
    raise InputError(
        f"{path} was not written, for {what} would be NaN or Inf in it; the checkpoints before it "
        "are untouched. Go on from one of them with a lower base_lr or precision='fp32'."
    )


def _name(sample: Any) -> Any:
    """What finds a sample again: its key (seed, epoch, sample) and its file."""
    get = getattr(sample, "get", None)
    if get is None:
        return str(type(sample).__name__)
    return dict(key=list(get("sample_key") or ()), file=get("img_path"))


def _plain(value: Any) -> Any:
    """JSON has no NaN: such numbers as text."""
    return value if not isinstance(value, float) or math.isfinite(value) else str(value)
