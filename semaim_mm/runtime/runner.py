"""mmengine's Runner with the keys that this suite adds: total_batch, base_lr, precision.

``runner_type = 'TransferRunner'`` in a config selects it. It also loads weights strictly and runs
nothing that a checkpoint holds.
"""

import copy
from collections.abc import Callable
from typing import Any

from mmengine.device import get_device
from mmengine.hooks import CheckpointHook
from mmengine.logging import print_log
from mmengine.model import is_model_wrapper
from mmengine.registry import RUNNERS
from mmengine.runner import Runner
from mmengine.runner.checkpoint import _load_checkpoint_to_model
from torch import nn
from torch.utils.data import DataLoader

from semaim_mm.errors import InputError
from semaim_mm.interop.carry import carry_into
from semaim_mm.interop.carry_own import carry_own
from semaim_mm.interop.checkpoint_file import read_file, state_dict_of
from semaim_mm.interop.whole_model import check_weights
from semaim_mm.runtime.batch import BatchPlan, plan_batch
from semaim_mm.runtime.hooks import has_batch_norm, unwrap
from semaim_mm.runtime.model_keys import check_keys, check_model
from semaim_mm.runtime.precision import resolve_precision, wrapper_options
from semaim_mm.runtime.protocol import state_backbone
from semaim_mm.runtime.reliable.header import check_header
from semaim_mm.runtime.reliable.loops import resumable
from semaim_mm.runtime.reliable.newest import newest_checkpoint
from semaim_mm.runtime.reliable.runner import ReliableRunner
from semaim_mm.runtime.reliable.worker import outlive_stop_signals
from semaim_mm.runtime.run_keys import check_run
from semaim_mm.runtime.spread import spread_keys
from semaim_mm.runtime.wrapper import wrapper_settings

LOADER_SECONDS = 300  # for a batch, where a loader's timeout says nothing else; 0 waits for ever


@RUNNERS.register_module()
class TransferRunner(ReliableRunner):
    """Runner of every config here.

    Config keys beyond mmengine's:
        accumulate: False refuses a total_batch that would need accumulated steps.
        total_batch: images in an update over all processes; gradients are accumulated to it.
        base_lr: learning rate for 256 images; the optimiser gets base_lr x total_batch / 256.
        precision: 'auto', 'auto-fp16', 'fp32', 'bf16' or 'fp16'.
        unreadable_budget: how many training images that can't be decoded are skipped and counted
            before the run stops; 0 stops at the first.
        tta_model: wrapper that averages the views of an augmented test pipeline; evaluation only.
        tensorboard: True writes TensorBoard files beside the JSON lines.
        Those that spread.py writes where data sets, heads and evaluators read them.
    """

    batch_plan: BatchPlan | None = None
    precision: str | None = None

    @classmethod
    def from_cfg(cls, cfg: Any) -> "TransferRunner":
        cfg = copy.deepcopy(cfg)
        check_keys(cfg)
        check_run(cfg)
        spread_keys(cfg)
        check_model(cfg["model"])
        state_backbone(cfg)
        if cfg.get("precision") is not None:
            precision = resolve_precision(cfg["precision"], get_device().split(":")[0])
            if precision == "bf16" and cfg["model"].get("roi_head"):
                raise InputError(
                    "precision='bf16' does not go with a RoI head, for mmcv's RoIAlign has no bf16 "
                    "kernel; choose 'auto-fp16', 'fp16' or 'fp32'."
                )
        if cfg.get("resume") and not cfg.get("load_from"):
            # not left to mmengine, which opens whatever last_checkpoint names
            cfg["load_from"] = newest_checkpoint(cfg["work_dir"])
            cfg["resume"] = cfg["load_from"] is not None
        if cfg.get("resume") and cfg.get("load_from"):
            init = (cfg["model"].get("backbone") or {}).get("init_cfg")
            if init:
                init["resumed"] = True
        # a whole model tells its own backbone; init_cfg is read only where training starts from it
        for line in carry_own(cfg) if cfg.get("load_from") else carry_into(cfg):
            print_log(line)
        if cfg.get("tensorboard"):
            _require_tensorboard()
            cfg.visualizer.vis_backends = [
                *cfg.visualizer.vis_backends,
                dict(type="TensorboardVisBackend"),
            ]
        return super().from_cfg(cfg)

    def build_model(self, model: Any) -> nn.Module:
        if isinstance(model, dict) and self.cfg.get("augmented_test"):
            model = dict(self.cfg["tta_model"], module=model)
        return super().build_model(model)

    def wrap_model(self, model_wrapper_cfg: dict | None, model: nn.Module) -> nn.Module:
        if not any(parameter.requires_grad for parameter in model.parameters()):
            return model.to(get_device())  # frozen features: nothing that DDP could reduce
        if self.distributed and not is_model_wrapper(model):
            unused = self.cfg.get("find_unused_parameters", False)
            model_wrapper_cfg = wrapper_settings(model_wrapper_cfg, unused, self._accumulates())
        return super().wrap_model(model_wrapper_cfg, model)

    def _accumulates(self) -> bool:
        """Whether an update has several steps, as far as the config tells before training."""
        loader, total = self._train_dataloader, self.cfg.get("total_batch")
        if total and isinstance(loader, dict):
            return total > self.world_size * loader["batch_size"]
        wrapper = self.optim_wrapper
        return isinstance(wrapper, dict) and wrapper.get("accumulative_counts", 1) > 1

    def build_train_loop(self, loop: Any) -> Any:
        loader = self._train_dataloader
        if isinstance(loop, dict) and isinstance(loader, dict) and self.cfg.get("total_batch"):
            self.batch_plan = plan_batch(
                self.cfg["total_batch"],
                self.world_size,
                loader["batch_size"],
                self.cfg.get("base_lr"),
            )
            if loader["sampler"]["type"] == "KeyedSampler":
                loader["sampler"]["total_batch"] = self.batch_plan.total
            iterations = loop.get("type") == "IterBasedTrainLoop" or not loop.get("by_epoch", True)
            if self.batch_plan.accumulation > 1 and not self.cfg.get("accumulate", True):
                raise InputError(
                    f"This method can't accumulate gradients (its step depends on the images seen "
                    f"together), but {self.batch_plan}; set train_dataloader.batch_size to "
                    f"{self.batch_plan.total // self.world_size}, or lower total_batch."
                )
            if self.batch_plan.accumulation > 1 and has_batch_norm(self.model):
                self.logger.warning(
                    "Batch norms see the images of one step, and an update has "
                    f"{self.batch_plan.accumulation} steps: their statistics are of fewer images "
                    "than the recipe's. Use more devices or a larger train_dataloader.batch_size."
                )
            if self.batch_plan.accumulation > 1:
                self._stretch_hooks(self.batch_plan.accumulation)
            if self.batch_plan.accumulation > 1 and iterations:
                self._stretch_iterations(loop, self.batch_plan.accumulation)
        return super().build_train_loop(resumable(loop))

    def _stretch_iterations(self, loop: dict, accumulation: int) -> None:
        """Count updates, not accumulated steps: mmengine's loop and schedulers count steps."""
        for key in ("max_iters", "val_interval", "val_begin"):
            if key in loop:
                loop[key] *= accumulation
        for scheduler in self.param_schedulers or ():
            if not scheduler.get("by_epoch", True):
                for key in ("begin", "end", "T_max", "total_iters", "milestones", "step_size"):
                    value = scheduler.get(key)
                    if isinstance(value, list):
                        scheduler[key] = [number * accumulation for number in value]
                    elif value is not None:
                        scheduler[key] = value * accumulation

    def _stretch_hooks(self, accumulation: int) -> None:
        """Count updates in checkpoint intervals too, also within the epochs of an epoch loop."""
        for hook in self.hooks:
            if isinstance(hook, CheckpointHook) and not hook.by_epoch:
                hook.interval *= accumulation

    @staticmethod
    def build_dataloader(dataloader: Any, *args: Any, **kwargs: Any) -> DataLoader:
        if isinstance(dataloader, dict) and dataloader.get("num_workers", 0):
            dataloader = {"timeout": LOADER_SECONDS, **dataloader}
        elif isinstance(dataloader, dict):
            # torch refuses these without workers; --cfg-options num_workers=0 should just work
            workers_only = ("persistent_workers", "prefetch_factor", "timeout")
            dataloader = {k: v for k, v in dataloader.items() if k not in workers_only}
        return outlive_stop_signals(Runner.build_dataloader(dataloader, *args, **kwargs))

    def build_param_scheduler(self, scheduler: Any) -> Any:
        if isinstance(scheduler, list):
            for entry in scheduler:
                self._check_milestones(entry)
            scheduler = [entry for entry in scheduler if not self._too_short(entry)]
        try:
            return super().build_param_scheduler(scheduler)
        except ValueError as error:
            raise InputError(
                f"The learning-rate schedule does not fit a run of {self.max_epochs} epoch(s) "
                f"({error}); mend param_scheduler."
            ) from error

    def _check_milestones(self, entry: Any) -> None:
        """Refuse a step schedule whose steps the run never reaches: the rate would never fall."""
        if isinstance(entry, dict) and not entry.get("by_epoch", True):
            late = [step for step in entry.get("milestones", ()) if step >= self.max_iters]
            if late:
                raise InputError(
                    f"param_scheduler has milestones {late}, but the run ends after "
                    f"{self.max_iters} iterations; set them to the new length too."
                )

    def _too_short(self, entry: Any) -> bool:
        """Whether a warm-up has under two iterations: mmengine's would stay at its first factor."""
        if not isinstance(entry, dict) or entry.get("type") != "LinearLR" or "end" not in entry:
            return False
        span = entry["end"] - entry.get("begin", 0)
        if entry.get("convert_to_iter_based"):
            span = int(span * len(self.train_dataloader))
        if span < 2:
            self.logger.warning(f"the warm-up of {span} iteration(s) is left out: {dict(entry)}")
        return span < 2

    def build_optim_wrapper(self, optim_wrapper: Any) -> Any:
        if isinstance(optim_wrapper, dict):
            optim_wrapper = copy.deepcopy(optim_wrapper)
            if self.batch_plan is not None:
                optim_wrapper["accumulative_counts"] = self.batch_plan.accumulation
                if self.batch_plan.lr is not None:
                    optim_wrapper["optimizer"]["lr"] = self.batch_plan.lr
                self.logger.info(str(self.batch_plan))
            choice = self.cfg.get("precision")
            if choice is not None:
                self.precision = resolve_precision(choice, get_device().split(":")[0])
                optim_wrapper.update(wrapper_options(self.precision))
                self.logger.info(f"precision {self.precision} (config: {choice}) on {get_device()}")
        return super().build_optim_wrapper(optim_wrapper)

    def load_checkpoint(
        self,
        filename: str,
        map_location: str | Callable = "cpu",
        strict: bool = True,
        revise_keys: list | None = None,
    ) -> dict:
        """Load weights of the whole model, exactly those: see interop/whole_model.py."""
        checkpoint = read_file(filename)
        if "state_dict" not in checkpoint:
            checkpoint = dict(state_dict=state_dict_of(checkpoint, filename))
        check_header(checkpoint, filename, self._resumes)
        self.whole_model = None if self._resumes else filename
        self.call_hook("after_load_checkpoint", checkpoint=checkpoint)
        model = unwrap(self.model)
        state = state_dict_of(checkpoint, filename)
        check_weights(model, state, filename)
        self.take_over(checkpoint, filename)
        checkpoint = _load_checkpoint_to_model(
            model, checkpoint, strict, revise_keys=revise_keys or [(r"^module\.", "")]
        )
        self._has_loaded = True
        self.logger.info(f"Loaded {len(state)} weights from {filename}")
        return checkpoint


def _require_tensorboard() -> None:
    try:
        import tensorboard  # noqa: F401
    except ImportError as error:
        raise InputError(
            "tensorboard=True needs the tensorboard package: pip install '.[tensorboard]'."
        ) from error
