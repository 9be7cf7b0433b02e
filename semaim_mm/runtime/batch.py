"""Total batch and learning rate: what a run on any number of devices keeps equal."""

from typing import NamedTuple

from semaim_mm.errors import InputError


class BatchPlan(NamedTuple):
    """How an update of ``total`` images is made, and the learning rate that goes with it."""

    total: int
    world_size: int
    per_device: int
    accumulation: int
    base_lr: float | None

    @property
    def lr(self) -> float | None:
        """base_lr x total / 256, the linear scaling rule; None where the config sets lr itself."""
        return None if self.base_lr is None else self.base_lr * self.total / 256

    def __str__(self) -> str:
        text = (
            f"total batch {self.total} = {self.world_size} process(es) x {self.per_device} images "
            f"x {self.accumulation} accumulated step(s)"
        )
        if self.lr is not None:
            text += f"; lr {self.lr:g} = base_lr {self.base_lr:g} x {self.total} / 256"
        return text


def plan_batch(
    total: int, world_size: int, per_device: int, base_lr: float | None = None
) -> BatchPlan:
    """-> the plan of an update. Raises InputError where the accumulation would not be whole."""
    if total < 1 or per_device < 1:
        raise InputError(
            f"total_batch={total} and train_dataloader.batch_size={per_device} must be positive; "
            "mend the config."
        )
    step = world_size * per_device
    if total % step:
        nearest = [n for n in (total // step * step, (total // step + 1) * step) if n]
        advice = f"total_batch to {' or '.join(map(str, nearest))}."
        if total % world_size == 0:
            share = total // world_size
            advice = f"train_dataloader.batch_size to a divisor of {share}, or {advice}"
        raise InputError(
            f"total_batch={total} can't be made of steps of {step} images ({world_size} processes "
            f"x {per_device}): the accumulation would be {total / step:g}. Set {advice}"
        )
    return BatchPlan(total, world_size, per_device, total // step, base_lr)
