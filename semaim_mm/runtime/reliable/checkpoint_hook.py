"""mmengine's CheckpointHook, with nothing removed before its successor is complete."""

import os
from collections import deque
from pathlib import Path
from typing import Any

from mmengine.dist import is_main_process
from mmengine.hooks import CheckpointHook
from mmengine.registry import HOOKS
from mmengine.runner import Runner

from semaim_mm.report.result import replacing
from semaim_mm.runtime.reliable.newest import POINTER
from semaim_mm.runtime.reliable.save import remove_parts

STOPPED = "stopped_checkpoint"  # the message hub's name for one written on a signal


@HOOKS.register_module()
class SafeCheckpointHook(CheckpointHook):
    """Saves as mmengine's does, and removes an old checkpoint only once the new one is whole.

    Checkpoints counted in iterations are written where an update ends: gradients that are being
    accumulated are in no checkpoint.
    """

    def before_train(self, runner: Runner) -> None:
        super().before_train(runner)
        self._saved = (runner.epoch, runner.iter) if runner.iter else None
        if is_main_process() and Path(self.out_dir).is_dir():
            for name in remove_parts(self.out_dir):
                runner.logger.info(f"removed {name}, the beginning of a checkpoint")

    def after_train_iter(self, runner: Runner, batch_idx: int, data_batch=None, outputs=None):
        if self.by_epoch:
            return
        due = self.every_n_train_iters(runner, self.interval, self.save_begin)
        self._due = due or getattr(self, "_due", False)
        last = self.save_last and self.is_last_train_iter(runner)
        if (self._due and runner.optim_wrapper.should_update()) or last:
            self._due = False
            runner.logger.info(f"Saving checkpoint at {runner.iter + 1} iterations")
            self._save_checkpoint(runner)

    def save_stopped(self, runner: Runner, meta: dict[str, int]) -> None:
        """Save at ``meta``'s epoch and iter unless that was just done; the next save removes it."""
        if self._saved == (meta["epoch"], meta["iter"]):
            return
        name = f"iter_{meta['iter']}.pth"
        former = self._stopped_before(runner)
        known = [self.filename_tmpl.format(step) for step in getattr(self, "keep_ckpt_ids", ())]
        if name not in known:  # a regular one of that name is kept as all are
            runner.message_hub.update_info(STOPPED, name)
        self._write(runner, name, meta)
        self._remove([old for old in former if old != name])

    def _save_checkpoint_with_step(self, runner: Runner, step: int, meta: dict[str, Any]) -> None:
        outdated = self._stopped_before(runner)
        if self.max_keep_ckpts > 0 and (not self.keep_ckpt_ids or self.keep_ckpt_ids[-1] != step):
            kept = [one for one in self.keep_ckpt_ids if one != step]
            surplus = max(0, len(kept) + 1 - self.max_keep_ckpts)
            outdated += [self.filename_tmpl.format(one) for one in kept[:surplus]]
            # with the outdated: a run killed before it removes them does so when it resumes
            runner.message_hub.update_info("keep_ckpt_ids", [*kept, step])
            self.keep_ckpt_ids = deque([*kept[surplus:], step], self.max_keep_ckpts)
        name = self.filename_tmpl.format(step)
        runner.message_hub.update_info(STOPPED, None)
        self._write(runner, name, meta)
        self._remove([old for old in outdated if old != name])

    def _write(self, runner: Runner, name: str, meta: dict[str, Any]) -> None:
        self.last_ckpt = self.file_backend.join_path(self.out_dir, name)
        runner.message_hub.update_info("last_ckpt", self.last_ckpt)
        runner.save_checkpoint(
            self.out_dir,
            name,
            self.file_client_args,
            save_optimizer=self.save_optimizer,
            save_param_scheduler=self.save_param_scheduler,
            meta=meta,
            by_epoch=self.by_epoch,
            backend_args=self.backend_args,
            **self.args,
        )
        self._saved = (meta["epoch"], meta["iter"])
        if is_main_process():
            with replacing(Path(runner.work_dir, POINTER)) as temporary:
                temporary.write_text(str(self.last_ckpt))

    def _save_best_checkpoint(self, runner: Runner, metrics: dict) -> None:
        """As mmengine's, which removes the former best before it writes the new one."""
        if not self.save_best:
            return
        single = len(self.key_indicators) == 1
        former = {"": self.best_ckpt_path} if single else dict(self.best_ckpt_path_dict)
        if single:
            self.best_ckpt_path = None
        else:
            self.best_ckpt_path_dict = dict.fromkeys(former)
        super()._save_best_checkpoint(runner, metrics)
        for key, path in former.items():
            now = self.best_ckpt_path if single else self.best_ckpt_path_dict.get(key)
            if now is None and single:
                self.best_ckpt_path = path
            elif now is None:
                self.best_ckpt_path_dict[key] = path
            elif path and path != now:
                self._remove([os.path.basename(path)])

    def _stopped_before(self, runner: Runner) -> list[str]:
        name = runner.message_hub.runtime_info.get(STOPPED)
        return [name] if name else []

    def _remove(self, names: list[str]) -> None:
        if is_main_process():
            for name in names:
                path = self.file_backend.join_path(self.out_dir, name)
                if self.file_backend.isfile(path):
                    self.file_backend.remove(path)
