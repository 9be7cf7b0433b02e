"""Steps that a NaN or Inf would spoil: left out on every rank, written down, and not for ever.

The guard sits in the optimiser's wrapper, between the gradient and the step.
"""

import json
import math
from pathlib import Path
from typing import Any, NamedTuple

import torch
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import Runner
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from semaim_mm.errors import InputError
from semaim_mm.runtime.late import LateValues, log_late
from semaim_mm.runtime.reliable.ranks import any_rank, largest
from semaim_mm.runtime.reliable.save import tensors_of


class Outcome:
    """What became of an update: ``stepped``, a bool, or a tensor () where the device decided.

    ``late`` says which; then ``left_out`` waits for that update, and is best asked for after the
    next one has been queued.
    """

    def __init__(self, stepped: bool | Tensor, grad_norm: Any, loss_finite: Any, **more: Any):
        self.stepped, self.late = stepped, isinstance(stepped, Tensor)
        self._why = dict(grad_norm=grad_norm, loss_finite=loss_finite, **more)
        if self.late:
            values = [value.detach().double() for value in (stepped, grad_norm, loss_finite)]
            self._values = LateValues(torch.stack(values))

    @property
    def left_out(self) -> dict[str, Any] | None:
        """None where the update was done, else its gradient norm and whether the loss is finite."""
        if not self.late:
            return None if self.stepped else self._why
        stepped, norm, finite = self._values.read()
        return None if stepped else dict(grad_norm=float(norm), loss_finite=bool(finite))


class FiniteGuard:
    """Mixin of an OptimWrapper: no rank steps where a loss or a gradient of one is not finite.

    A fused optimiser decides on the device, and no step waits for it; for others the host asks
    before it steps, and for a ``loss_scaler`` (fp16) too. A scaler skips steps as part of its work;
    such a skip counts only once its scale is down at 1, for then the scale is not the reason.
    """

    outcome = Outcome(True, 0.0, True)  # of the last update
    _losses_finite: Tensor | None = None
    _norm: Tensor | None = None

    @property
    def left_out(self) -> dict[str, Any] | None:
        """What describes the last update where it was left out; None where it was done."""
        return self.outcome.left_out

    def update_params(self, loss: Tensor, *args: Any, **kwargs: Any) -> None:
        finite = torch.isfinite(loss.detach()).all()
        before = self._losses_finite
        self._losses_finite = finite if before is None else before & finite
        super().update_params(loss, *args, **kwargs)

    def step(self, **kwargs: Any) -> None:
        """Clip and step, as mmengine's wrappers do, unless something is not finite."""
        losses, self._losses_finite = self._losses_finite, None
        if hasattr(self, "loss_scaler"):
            self.outcome = self._scaled_step(losses is None or bool(losses), **kwargs)
            return
        norm = self._gradient_norm()
        losses = torch.ones_like(norm, dtype=torch.bool) if losses is None else losses
        bad = any_rank(~(losses & torch.isfinite(norm)))
        if decides_on_device(self.optimizer):
            self.outcome = Outcome(~bad, norm, losses)
            self.optimizer.found_inf = bad.float()
            try:
                self.optimizer.step(**kwargs)
            finally:
                del self.optimizer.found_inf
            return
        self.outcome = Outcome(not bool(bad), float(norm), bool(losses))
        if self.outcome.stepped:
            self.optimizer.step(**kwargs)

    def _gradient_norm(self) -> Tensor:
        """-> the norm () of all gradients before clipping; clips."""
        if self.clip_grad_kwargs and self.grad_name == "grad_norm":
            self._clip_grad()
            return self._norm
        norm = nn.utils.get_total_norm([p.grad for p in self._with_gradient()])
        if self.clip_grad_kwargs:
            self._clip_grad()
        return norm

    def _clip_grad(self) -> None:
        """As mmengine's, which reads the norm on the host in every step."""
        self._norm = self.clip_func(self._with_gradient(), **self.clip_grad_kwargs)
        if self._norm is not None:
            log_late(self.message_hub, f"train/{self.grad_name}", self._norm)

    def _with_gradient(self) -> list[nn.Parameter]:
        groups = self.optimizer.param_groups
        return [p for group in groups for p in group["params"] if p.grad is not None]

    def _scaled_step(self, losses: bool, **kwargs: Any) -> Outcome:
        if largest(not losses):
            # the scaler did not see these gradients, so its scale stays what it is
            return Outcome(False, None, losses)
        scale = self.loss_scaler.get_scale()
        super().step(**kwargs)
        skipped = self.loss_scaler.get_scale() < scale <= 1
        return Outcome(not skipped, None, losses, loss_scale=scale)


def decides_on_device(optimizer: torch.optim.Optimizer) -> bool:
    """Whether an optimiser's step takes ``found_inf``, at which its kernel changes nothing."""
    fused = all(group.get("fused") for group in optimizer.param_groups)
    return fused and getattr(optimizer, "_step_supports_amp_scaling", False)


class Update(NamedTuple):
    """An update whose outcome is still to be asked for: when it was, and of which samples."""

    outcome: Outcome
    epoch: int
    iter: int
    samples: list[Any]


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
        self._unread: list[Update] = []

    def after_train_iter(self, runner: Runner, batch_idx: int, data_batch=None, outputs=None):
        self._samples += [_name(one) for one in (data_batch or {}).get("data_samples", ())]
        outcome = getattr(runner.optim_wrapper, "outcome", None)
        if not runner.optim_wrapper.should_update() or outcome is None:
            return
        update = Update(outcome, runner.epoch, runner.iter + 1, self._samples)
        self._samples = []
        self._unread.append(update)
        # on every rank after the same update, or one would stop and leave the others waiting
        self.read(runner, but_last=outcome.late)

    def after_train(self, runner: Runner) -> None:
        self.read(runner)

    def read(self, runner: Runner, but_last: bool = False) -> None:
        """Take note of the updates that were not yet asked for; raises after too many in a row.

        Every rank calls it at the same places: after an update, before a checkpoint, at the end.
        """
        while len(self._unread) > but_last:
            update = self._unread.pop(0)
            left_out = update.outcome.left_out
            if left_out is None:
                self.in_a_row = 0
            else:
                self._note(runner, update, left_out)

    def _note(self, runner: Runner, update: Update, left_out: dict[str, Any]) -> None:
        self.in_a_row += 1
        line = dict(epoch=update.epoch, iter=update.iter, **left_out, samples=update.samples)
        file = self._write(runner, line)
        runner.logger.warning(
            f"the update at iteration {update.iter} was left out on every rank: a loss or "
            f"gradient is not finite ({self.in_a_row} in a row); its samples are in {file}"
        )
        if self.in_a_row >= self.stop_after:
            raise InputError(
                f"{self.in_a_row} updates in a row, up to iteration {update.iter}, had a loss "
                f"or gradient that is not finite; none was done, and the checkpoints are from "
                f"before. {file} names their samples and gradient norms; look at those, lower "
                "base_lr, or choose precision='fp32'."
            )

    def _write(self, runner: Runner, line: dict[str, Any]) -> Path:
        part = f".rank{runner.rank}" if runner.rank else ""
        path = Path(runner.work_dir, f"left_out_updates{part}.jsonl")
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
