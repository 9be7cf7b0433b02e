"""mmengine's training loops, resumed where they stopped: no sample twice, none left out.

They also make up for a validation during which the run was killed.
"""

from itertools import islice
from typing import Any

from mmengine.registry import LOOPS
from mmengine.runner import EpochBasedTrainLoop, IterBasedTrainLoop
from torch import nn
from torch.utils.data import BatchSampler, DataLoader

from semaim_mm.runtime.reliable.random_states import restore_random_state
from semaim_mm.runtime.reliable.status import is_validated

RESUMABLE = {
    "EpochBasedTrainLoop": "ResumableEpochLoop",
    "IterBasedTrainLoop": "ResumableIterLoop",
}


def resumable(loop: Any) -> Any:
    """A ``train_cfg`` for one of mmengine's loops -> the same for ours; others as they are."""
    if not isinstance(loop, dict):
        return loop
    loop = dict(loop)
    if "type" not in loop:
        by_epoch = loop.pop("by_epoch", True)
        loop["type"] = "EpochBasedTrainLoop" if by_epoch else "IterBasedTrainLoop"
    loop["type"] = RESUMABLE.get(loop["type"], loop["type"])
    return loop


class _Resumed:
    """What both loops do when they begin."""

    _random_states: list | None = None

    def _make_up_validation(self) -> None:
        if self.runner.val_loop is not None and self._validation_is_due():
            if is_validated(self.runner):
                return
            self.runner.logger.info(
                f"the validation at iteration {self._iter} was not finished: doing it now"
            )
            self.runner.val_loop.run()

    def _restore_random(self) -> None:
        restore_random_state(self._random_states)
        self._random_states = None


@LOOPS.register_module()
class ResumableEpochLoop(_Resumed, EpochBasedTrainLoop):
    """Counts epochs. A checkpoint from within an epoch goes on with the next sample of it."""

    def run(self) -> nn.Module:
        self.runner.call_hook("before_train")
        self._random_states = getattr(self.runner, "loaded_random_states", None)
        at_boundary = self._iter == self._epoch * len(self.dataloader)
        if at_boundary:
            self._restore_random()
        self._decide_current_val_interval()
        if self._iter and at_boundary:
            self._make_up_validation()
        while self._epoch < self._max_epochs and not self.stop_training:
            self.run_epoch()
            self._decide_current_val_interval()
            if self.runner.val_loop is not None and self._validation_is_due():
                self.runner.val_loop.run()
        self.runner.call_hook("after_train")
        return self.runner.model

    def _validation_is_due(self) -> bool:
        due = self._epoch % self.val_interval == 0 or self._epoch == self._max_epochs
        return due and self._epoch >= self.val_begin

    def run_epoch(self) -> None:
        done = self._iter - self._epoch * len(self.dataloader)
        skipped = 0 < done < len(self.dataloader) and skip(self.dataloader, done)
        self.runner.call_hook("before_train_epoch")
        self.runner.model.train()
        if done < len(self.dataloader):
            batches = iter(self.dataloader)
            if done and not skipped:
                batches = islice(batches, done, None)
            if self._random_states is not None:
                self._restore_random()
            for index, batch in enumerate(batches, done):
                self.run_iter(index, batch)
        self.runner.call_hook("after_train_epoch")
        self._epoch += 1


@LOOPS.register_module()
class ResumableIterLoop(_Resumed, IterBasedTrainLoop):
    """Counts iterations, as mmengine's, which passes over the samples that were used."""

    def run(self) -> nn.Module:
        self.runner.call_hook("before_train")
        self._random_states = getattr(self.runner, "loaded_random_states", None)
        self.runner.call_hook("before_train_epoch")
        if self._iter:
            self._decide_current_val_interval()
            self._make_up_validation()
            if not self.fast_forward_on_resume:
                self.dataloader_iterator.skip_iter(self._iter)
            if self._iter < self._max_iters:
                self.dataloader_iterator._ensure_iterator()
            self._restore_random()
        while self._iter < self._max_iters and not self.stop_training:
            self.runner.model.train()
            self.run_iter(next(self.dataloader_iterator))
            self._decide_current_val_interval()
            if self.runner.val_loop is not None and self._validation_is_due():
                self.runner.val_loop.run()
        self.runner.call_hook("after_train_epoch")
        self.runner.call_hook("after_train")
        return self.runner.model

    def _validation_is_due(self) -> bool:
        due = self._iter % self.val_interval == 0 or self._iter == self._max_iters
        return due and self._iter >= self.val_begin


def skip(loader: DataLoader, batches: int) -> bool:
    """Let a loader's sampler begin after so many batches -> whether it can."""
    plain = type(loader.batch_sampler) is BatchSampler and loader.batch_size is not None
    if not plain or not hasattr(loader.sampler, "skip"):
        return False
    loader.sampler.skip(batches * loader.batch_size)
    return True
