"""Counting the training images that could not be read, over all ranks."""

from mmengine.dist import all_gather_object
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import Runner

from semaim_mm.errors import InputError
from semaim_mm.runtime.late import LateValues
from semaim_mm.runtime.reliable.ranks import largest_later


@HOOKS.register_module()
class SkippedImagesHook(Hook):
    """Counts the images that KeyedDataset skipped; stops past ``budget``, keeps the count.

    The paths, below the data set's folder, stand in every checkpoint's ``meta['skipped_images']``
    and their number in the result. Of several ranks each asks by one number on the device whether
    any skipped an image, reads the answer a step later, and only then gathers paths.
    """

    def __init__(self, budget: int = 0):
        self.budget, self.paths = budget, set()
        self._here: set[str] = set()  # of this rank, not yet told to the others
        self._told: list[LateValues] = []

    def after_train_iter(self, runner: Runner, batch_idx: int, data_batch=None, outputs=None):
        if not self.budget:
            return  # the data set stops by itself
        here = {p for sample in data_batch["data_samples"] for p in sample.get("unreadable", ())}
        self._here |= here - self.paths
        if runner.world_size == 1:
            self._count(runner)
            return
        self._told.append(largest_later(len(self._here)))
        self.read(runner, but_last=self._told[-1].late)

    def after_train(self, runner: Runner) -> None:
        self.read(runner)

    def read(self, runner: Runner, but_last: bool = False) -> None:
        """Count what was not yet counted; raises InputError past the budget.

        Every rank calls it at the same places: after a step, before a checkpoint, at the end.
        """
        while len(self._told) > but_last:
            if self._told.pop(0).read() > 0:
                self._here = set().union(*all_gather_object(sorted(self._here)))
                self._count(runner)

    def _count(self, runner: Runner) -> None:
        found, self._here = sorted(self._here - self.paths), set()
        self.paths.update(found)
        for path in found:
            runner.logger.warning(
                f"{path} can't be read and was skipped ({len(self.paths)} so far)"
            )
        if len(self.paths) > self.budget:
            raise InputError(
                f"{len(self.paths)} training images can't be read, more than the budget of "
                f"{self.budget}: {', '.join(sorted(self.paths)[:3])}; replace them, or raise the "
                "SkippedImagesHook's budget."
            )

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        checkpoint["meta"]["skipped_images"] = sorted(self.paths)

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        self.paths.update(checkpoint.get("meta", {}).get("skipped_images", ()))
