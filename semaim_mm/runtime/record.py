"""What a checkpoint says of its own making: batch, precision, model, and what it started from."""

from pathlib import Path

from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import IterBasedTrainLoop, Runner
from torch import nn

from semaim_mm.data.held_out import innermost
from semaim_mm.data.prepare.manifest import data_record
from semaim_mm.interop.checkpoint_file import read_file, sha256_of
from semaim_mm.interop.init_cfg import UNTRAINED
from semaim_mm.report.provenance import git_state, hardware, versions
from semaim_mm.report.result import canonical, sha256_text
from semaim_mm.runtime.command_line import command_line
from semaim_mm.runtime.hooks import has_batch_norm, unwrap
from semaim_mm.runtime.pretraining_data import check_pretraining
from semaim_mm.runtime.protocol import training_of
from semaim_mm.runtime.tuned import read_choice

ORIGIN = (
    "experiment_name",
    "epoch",
    "iter",
    "seed",
    "budget",
    "training",
    "data",
    "made_by",  # of runs of before 2026-11-29, whose hash a resumption changed
    "recipe_sha256",
    "loaded",
    "resumes",
    "skipped_images",
    "command",
    "source",
    "machine",
)


def plain(value):
    """Tuples to lists, at any depth: what a checkpoint may hold and JSON can say."""
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return value if isinstance(value, (str, int, float, bool, type(None))) else str(value)


def recipe_sha256(cfg: Config, loaded: dict | None = None) -> str:
    """-> SHA-256 of what decides a run but for its seed: runs that differ by luck alone share it.

    Not where data lies, how it is read, how an update is shared out or how often it was resumed.
    ``loaded``: the whole model that it starts from.
    """
    backbone = dict(cfg.to_dict()["model"].get("backbone") or {})
    backbone.pop("init_cfg", None)  # started_from has the weights' own hash
    start = (loaded or {}).get("sha256")
    return sha256_text(canonical(plain([training_of(cfg), backbone, start])))


def checkpoint_record(path: str | Path) -> dict:
    """A checkpoint file -> its name, sha256, and what its meta says of its making."""
    meta = read_file(path).get("meta") or {}
    origin = {key: meta[key] for key in ORIGIN if key in meta}
    return dict(
        file=Path(path).name,
        sha256=sha256_of(path),
        origin=plain(origin) or None,
        coverage=None,
        started_from=meta.get("started_from"),
    )


def _recipe(cfg: Config, data: dict | None, loaded: dict | None) -> dict | None:
    """-> how a run trains, and on which set; its folder's place on the disk does not count."""
    recipe = plain(training_of(cfg))
    if recipe is not None and loaded is not None:
        recipe["starts_from"] = "a whole model"
    if recipe is not None and data is not None:
        recipe["data"]["manifest"] = data["manifest_sha256"]
    return recipe


def _length(runner: Runner) -> dict[str, int | None]:
    """How long a run is, in epochs or, where it counts updates, in iterations."""
    if isinstance(runner.train_loop, IterBasedTrainLoop):
        steps = 1 if runner.batch_plan is None else runner.batch_plan.accumulation
        return dict(max_epochs=None, max_iters=runner.max_iters // steps)
    return dict(max_epochs=runner.max_epochs, max_iters=None)


def _batch_norm_batch(runner: Runner) -> int | None:
    """-> images that a batch norm's statistics are of, None without one that trains."""
    if runner.batch_plan is None or not has_batch_norm(runner.model):
        return None
    synced = any(isinstance(module, nn.SyncBatchNorm) for module in runner.model.modules())
    return runner.batch_plan.per_device * (runner.world_size if synced else 1)


def _dropped(runner: Runner) -> dict[str, int]:
    """-> faulty images and annotations that the training set was told to leave out, by kind."""
    return dict(getattr(runner.train_loop.dataloader.dataset, "dropped", None) or {})


def _teachers(model: nn.Module) -> list[dict]:
    """-> what each frozen teacher of a pretraining says of itself, its weights' SHA-256 too."""
    generator = getattr(model, "target_generator", None)
    found = () if generator is None else generator.modules()
    return [module.record() for module in found if hasattr(module, "record")]


@HOOKS.register_module()
class RecordHook(Hook):
    """Writes how and from what a run trains, and its command, into every checkpoint's meta."""

    def __init__(self):
        self._resumes = 0
        self._data: dict | None = None
        self._source: dict | None = None
        self._started_from: dict | None = None
        self._loaded: dict | None = None

    def before_train(self, runner: Runner) -> None:
        # as it was when training began
        self._source = git_state()
        self._data = data_record(innermost(runner.cfg.train_dataloader.dataset))
        init = (runner.cfg.model.get("backbone") or {}).get("init_cfg") or {}
        path = init.get("checkpoint") if isinstance(init, dict) else None
        coverage = getattr(getattr(unwrap(runner.model), "backbone", None), "coverage", None)
        if runner.whole_model is not None:
            self._loaded = checkpoint_record(runner.whole_model)
        # a whole model has taken the place of any weights that init_cfg names
        if path not in (None, UNTRAINED) and self._started_from is None and self._loaded is None:
            record = checkpoint_record(path)
            record["coverage"] = None if coverage is None else plain(coverage.record())
            self._started_from = record
        for start in (self._started_from, self._loaded):
            check_pretraining(runner.cfg, start)

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        plan, cfg = runner.batch_plan, runner.cfg.to_dict()
        checkpoint["meta"]["training"] = dict(
            total_batch=None if plan is None else plan.total,
            batch_norm_batch=_batch_norm_batch(runner),
            accumulation=None if plan is None else plan.accumulation,
            lr=runner.optim_wrapper.optimizer.defaults["lr"],
            world_size=runner.world_size,
            precision=runner.precision,
            **_length(runner),
            dropped=_dropped(runner),
            save_best=(cfg.get("default_hooks") or {}).get("checkpoint", {}).get("save_best"),
            recipe=_recipe(runner.cfg, self._data, self._loaded),
            tuned=read_choice(cfg.get("tuned")),
            teachers=plain(_teachers(unwrap(runner.model))),
        )
        checkpoint["meta"]["data"] = self._data
        checkpoint["meta"]["recipe_sha256"] = recipe_sha256(runner.cfg, self._loaded)
        checkpoint["meta"]["loaded"] = self._loaded
        checkpoint["meta"]["command"] = command_line()
        checkpoint["meta"]["resumes"] = self._resumes
        checkpoint["meta"]["source"] = self._source
        checkpoint["meta"]["machine"] = hardware(runner.world_size) | dict(versions=versions())
        checkpoint["meta"]["model"] = plain(
            dict(
                backbone=cfg["model"].get("backbone", {}),
                data_preprocessor=cfg["model"].get("data_preprocessor", {}),
            )
        )
        checkpoint["meta"]["started_from"] = self._started_from

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        meta = checkpoint.get("meta", {})
        self._started_from = meta.get("started_from")
        if runner.whole_model is None:  # it goes on from this one
            self._resumes = meta.get("resumes", 0) + 1
            self._loaded = meta.get("loaded")
