"""The part of this suite's runner that keeps a run whole: lock, save, find, resume."""

import os
import time
from typing import Any

import mmengine
import torch
from mmengine.dist import is_main_process
from mmengine.runner import Runner
from mmengine.runner.checkpoint import weights_to_cpu
from mmengine.utils import apply_to
from torch import nn

from semaim_mm.errors import InputError
from semaim_mm.runtime.hooks import unwrap
from semaim_mm.runtime.param_groups import check_groups, keep_own_kernels
from semaim_mm.runtime.reliable.finite import FiniteStepHook, refuse_non_finite
from semaim_mm.runtime.reliable.hang import HangHook
from semaim_mm.runtime.reliable.kept_batch import KEY, batch_record, go_on_with, may_be_split
from semaim_mm.runtime.reliable.lock import Lock, alone_in
from semaim_mm.runtime.reliable.lost import told_in_sentences
from semaim_mm.runtime.reliable.newest import newest_checkpoint
from semaim_mm.runtime.reliable.random_states import random_states
from semaim_mm.runtime.reliable.ranks import stop_together
from semaim_mm.runtime.reliable.save import save_atomically
from semaim_mm.runtime.reliable.skipped import SkippedImagesHook
from semaim_mm.runtime.reliable.stop import StopSignalHook
from semaim_mm.runtime.reliable.work_dir import check_work_dir
from semaim_mm.runtime.secrets import without_secrets


class ReliableRunner(Runner):
    """mmengine's Runner with a lock on its work dir and checkpoints that are whole or not there.

    ``loaded_random_states`` are those of the checkpoint that it resumed from; the loop takes them.
    ``whole_model`` is the file whose weights it began with, None where it resumed, or loaded none.
    """

    loaded_random_states: list[dict[str, Any]] | None = None
    whole_model: str | None = None
    lock: Lock | None = None

    def __init__(self, *args: Any, cfg: Any = None, **kwargs: Any):
        # the parts are arguments of their own; ``cfg`` is what is logged, dumped and saved
        super().__init__(*args, cfg=without_secrets(cfg), **kwargs)

    @classmethod
    def from_cfg(cls, cfg: Any) -> "ReliableRunner":
        check_work_dir(cfg["work_dir"])
        return super().from_cfg(cfg)

    def train(self) -> nn.Module:
        with told_in_sentences(self), alone_in(self.work_dir) as self.lock:
            try:
                return super().train()
            finally:
                for hook in self.hooks:
                    if isinstance(hook, StopSignalHook | HangHook):
                        hook.restore()

    def val(self) -> dict:
        with told_in_sentences(self):
            return super().val()

    def test(self) -> dict:
        with told_in_sentences(self):
            return super().test()

    def load_or_resume(self) -> None:
        """As mmengine's; the newest checkpoint is looked for again, now that the dir is held.

        A run that was still saving itself when this one was built has ended by now.
        """
        if self.cfg.get("resume_newest") and self.lock is not None and not self._has_loaded:
            found = newest_checkpoint(self.work_dir)
            if found is not None:  # else what the config starts from stands
                self._load_from, self._resume = found, True
        super().load_or_resume()

    def resume(self, filename: str, *args: Any, **kwargs: Any) -> None:
        self._resumes = True
        try:
            super().resume(filename, *args, **kwargs)
        except InputError:
            raise
        except (AttributeError, LookupError, RuntimeError, TypeError, ValueError) as error:
            raise InputError(
                f"{filename} can't be resumed from: a part of it does not fit this run, or is "
                f"damaged ({type(error).__name__}: {error}). Resume from another checkpoint, or "
                "start from its weights with load_from."
            ) from error

    _resumes = False

    def take_over(self, checkpoint: dict, path: str) -> None:
        """Check the batch of a checkpoint that is gone on from, and remember its random states.

        Raises InputError where it was trained with a batch that this run can't go on with, or its
        optimiser has other parameter groups.
        """
        if not self._resumes:
            return
        model = unwrap(self.model)
        sampler = self.cfg.train_dataloader.get("sampler")
        split = may_be_split(model, sampler, self.cfg.get("accumulate", True))
        go_on_with(checkpoint, self._batch(), split, path)
        optimizer = getattr(self.optim_wrapper, "optimizer", None)
        if isinstance(optimizer, torch.optim.Optimizer):
            check_groups(checkpoint, optimizer, path)
            keep_own_kernels(checkpoint, optimizer)
        states = checkpoint.get("random_states")
        self.loaded_random_states = states if isinstance(states, list) else None

    def _batch(self) -> dict[str, int]:
        per_device = self.cfg.train_dataloader["batch_size"]
        return batch_record(getattr(self, "batch_plan", None), self.world_size, per_device)

    def save_checkpoint(
        self,
        out_dir: str,
        filename: str,
        file_client_args: dict | None = None,
        save_optimizer: bool = True,
        save_param_scheduler: bool = True,
        meta: dict | None = None,
        by_epoch: bool = True,
        backend_args: dict | None = None,
    ) -> None:
        """Write what mmengine's runner writes, and the ranks' random states, atomically.

        All ranks call it. Raises InputError on all of them where the first could not write, or
        where a weight is not finite.
        """
        for hook in self.hooks:
            if isinstance(hook, FiniteStepHook | SkippedImagesHook):
                hook.read(self)  # what is known by now may end the run instead
        states = random_states()
        path = os.path.join(out_dir, filename)
        with stop_together():
            if is_main_process():
                meta = self._meta(dict(meta or {}), by_epoch)
                checkpoint = self._content(meta, save_optimizer, save_param_scheduler)
                checkpoint["random_states"] = states
                checkpoint[KEY] = self._batch()
                self.call_hook("before_save_checkpoint", checkpoint=checkpoint)
                refuse_non_finite(unwrap(self.model), checkpoint.get("optimizer"), path)
                save_atomically(checkpoint, path)

    def _meta(self, meta: dict, by_epoch: bool) -> dict:
        # saved by hooks that run before the loop counts the epoch or the iteration
        meta.setdefault("epoch", self.epoch + by_epoch)
        meta.setdefault("iter", self.iter + (not by_epoch))
        meta.update(
            cfg=self.cfg.pretty_text,
            seed=self.seed,
            experiment_name=self.experiment_name,
            time=time.strftime("%Y%m%d_%H%M%S", time.localtime()),
            saved_at=time.time(),
            mmengine_version=mmengine.__version__,
        )
        if hasattr(self.train_dataloader.dataset, "metainfo"):
            meta["dataset_meta"] = without_secrets(self.train_dataloader.dataset.metainfo)
        return meta

    def _content(self, meta: dict, save_optimizer: bool, save_param_scheduler: bool) -> dict:
        content = dict(
            meta=meta,
            state_dict=weights_to_cpu(unwrap(self.model).state_dict()),
            message_hub=_to_cpu(self.message_hub.state_dict()),
        )
        if save_optimizer:
            content["optimizer"] = _to_cpu(self.optim_wrapper.state_dict())
        if save_param_scheduler and self.param_schedulers is not None:
            schedulers = self.param_schedulers
            content["param_schedulers"] = (
                {k: [one.state_dict() for one in v] for k, v in schedulers.items()}
                if isinstance(schedulers, dict)
                else [one.state_dict() for one in schedulers]
            )
        return content


def _to_cpu(content: Any) -> Any:
    return apply_to(content, lambda value: isinstance(value, torch.Tensor), lambda v: v.cpu())
