"""The batch that a checkpoint was trained with, and whether another one may go on from it.

mmengine has a check of this kind, which never finds what it looks for.
"""

from typing import Any

from mmengine.logging import print_log
from mmpretrain.models import BaseSelfSupervisor

from semaim_mm.errors import InputError
from semaim_mm.runtime.batch import BatchPlan

KEY = "batch"  # the part of a checkpoint that holds it
# what of a scheduler's state moves with its steps; the rest is as long as this run makes it
COUNTED = ("last_step", "_global_step")
KEPT = (*COUNTED, "base_values", "_last_value", "by_epoch", "param_name", "verbose")


def batch_record(plan: BatchPlan | None, world_size: int, per_device: int) -> dict[str, int]:
    """-> the checkpoint's part: images in an update, processes, images and steps of each."""
    accumulation = 1 if plan is None else plan.accumulation
    total = world_size * per_device * accumulation
    return dict(
        total=total, world_size=world_size, per_device=per_device, accumulation=accumulation
    )


def go_on_with(checkpoint: dict, now: dict[str, int], may_be_split: bool, path: str) -> None:
    """Check a checkpoint's batch against this run's, and recount its steps, in place.

    Args:
        now: this run's ``batch_record``.
        may_be_split: see ``may_be_split``: whether the total batch alone counts.

    Raises:
        InputError: another total batch; another number of processes, or of images of each, where
            that changes the training.
    """
    before = checkpoint.get(KEY)
    if not isinstance(before, dict) or before.keys() != now.keys():
        print_log(f"{path} does not say with which batch it was trained: see that it is the same")
        return
    if before == now:
        return
    told = f"{path} was trained with {_told(before)}, and this run has {_told(now)}"
    if before["total"] != now["total"]:
        raise InputError(
            f"{told}: going on would be another training. Set total_batch={before['total']}, or "
            "start anew in another --work-dir."
        )
    if not may_be_split:
        raise InputError(
            f"{told}. What this model draws and normalises depends on how its batch is split: take "
            f"{before['world_size']} process(es) and train_dataloader.batch_size="
            f"{before['per_device']}, or start anew in another --work-dir."
        )
    print_log(f"{told}: the total batch is the same, so the training goes on")
    if before["accumulation"] != now["accumulation"]:
        _recount(checkpoint, now["accumulation"], before["accumulation"])


def may_be_split(model: Any, sampler: Any, accumulate: bool) -> bool:
    """Whether an update is the same however its images are shared out: of a pretraining it is.

    Its samples and what it draws for each have to be functions of their key.
    """
    keyed = isinstance(sampler, dict) and sampler.get("type") == "KeyedSampler"
    return keyed and accumulate and isinstance(model, BaseSelfSupervisor)


def _recount(checkpoint: dict, now: int, before: int) -> None:
    """Count in this run's steps: an update, at whose end checkpoints are saved, has ``now``."""
    meta = checkpoint["meta"]
    meta["iter"] = meta["iter"] * now // before
    for state in checkpoint.get("param_schedulers") or ():
        if state.get("by_epoch", True):
            continue
        for key in COUNTED:
            state[key] = state[key] * now // before if state[key] > 0 else state[key]
        for key in state.keys() - set(KEPT):
            del state[key]


def _told(batch: dict[str, int]) -> str:
    return (
        f"a total batch of {batch['total']} ({batch['world_size']} process(es) x "
        f"{batch['per_device']} images x {batch['accumulation']} step(s))"
    )
