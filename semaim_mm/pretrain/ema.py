"""An exponential moving average of the backbone, held inside the model.

Source: the authors' training script (decay 0.999 rising to 0.9999 over 100 epochs).
"""

from copy import deepcopy

import torch
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from torch import Tensor, nn

from semaim_mm.errors import InputError
from semaim_mm.runtime.hooks import unwrap


class BackboneEMA(nn.Module):
    """Averaged copy of a backbone, in ``module``; it moves only by ``update``.

    mmengine's ExponentialMovingAverage starts from the first updated weights and reads its step
    counter on the host; this one starts from the initial weights, as the authors' (timm's) does.

    Args:
        start, end: decay at epoch 0 and from epoch ``epochs`` on, linear between.
    """

    def __init__(
        self, backbone: nn.Module, start: float = 0.999, end: float = 0.9999, epochs: int = 100
    ):
        super().__init__()
        if not (0 <= start <= end < 1 and epochs >= 1):
            raise InputError(
                f"ema: start={start} and end={end} must satisfy 0 <= start <= end < 1, and "
                f"epochs={epochs} must be at least 1; mend the config."
            )
        self.start, self.end, self.epochs = start, end, epochs
        self.module = deepcopy(backbone).requires_grad_(False)

    def decay(self, epoch: int) -> float:
        """Decay of an epoch, counted from 0."""
        return self.start + min(epoch / self.epochs, 1.0) * (self.end - self.start)

    def copy_from(self, backbone: nn.Module) -> None:
        """Start again from the backbone's weights: its initialisation comes after construction."""
        self.module.load_state_dict(backbone.state_dict())

    @torch.no_grad()
    def update(self, backbone: nn.Module, epoch: int, stepped: Tensor | bool = True) -> None:
        """Move every averaged weight towards the backbone's by 1 - decay.

        Nothing moves where ``stepped`` is false; a tensor () of it is not read on the host.
        """
        averaged, current = list(self.module.parameters()), list(backbone.parameters())
        if isinstance(stepped, Tensor):
            moves = torch._foreach_sub(current, averaged)
            torch._foreach_mul_(moves, stepped.to(moves[0].dtype) * (1 - self.decay(epoch)))
            torch._foreach_add_(averaged, moves)
        elif stepped:
            torch._foreach_lerp_(averaged, current, 1 - self.decay(epoch))


@HOOKS.register_module()
class EMAUpdateHook(Hook):
    """Moves the model's ``ema`` after every optimiser step, where it has one.

    An update that was left out (runtime/reliable/finite.py) moves nothing.
    """

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        model = unwrap(runner.model)
        if getattr(model, "ema", None) is None or not runner.optim_wrapper.should_update():
            return
        outcome = getattr(runner.optim_wrapper, "outcome", None)
        stepped = True if outcome is None else outcome.stepped
        model.ema.update(model.backbone, runner.epoch, stepped)
