"""What a checkpoint says of its own making: batch, precision, model, and what it started from."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import IterBasedTrainLoop, Runner
from torch import nn

from semaim_mm.data.held_out import innermost
from semaim_mm.data.prepare.manifest import data_record
from semaim_mm.errors import InputError
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
    "recipe_sha256",  # of runs of before 2026-12: of paths and switches too, of no teacher
    "recipe_digest",
    "loaded",
    "resumes",
    "skipped_images",
    "command",
    "source",
    "machine",
)


# of a model's config: what changes no number, and where a teacher's file or features lie
SWITCHES, PATHS = ("with_cp", "compiled"), ("weights", "folder")


def plain(value):
    """Tuples to lists, at any depth: what a checkpoint may hold and JSON can say."""
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return value if isinstance(value, (str, int, float, bool, type(None))) else str(value)


def recipe_digest(cfg: Config, teachers: Sequence[dict] = (), whole: bool = False) -> str:
    """-> SHA-256 of what decides a run but for its seed: runs that differ by luck alone share it.

    Not where data and teachers lie, how data is read, how memory is saved, how an update is shared
    out, how often it was resumed, or which weights it starts from, for each seed may have its own.

    Args:
        teachers: their records, whose weights' SHA-256 counts.
        whole: whether it starts from a whole model.
    """
    backbone = dict(cfg.to_dict()["model"].get("backbone") or {})
    backbone.pop("init_cfg", None)  # started_from has the weights' own hash
    recipe = plain([training_of(cfg), backbone])
    taught_by = [teacher.get("sha256") for teacher in teachers]
    return sha256_text(canonical([_without_places(recipe), taught_by, whole]))


def _without_places(part: Any) -> Any:
    """A recipe -> the same without switches of memory and speed, and paths of a model's parts."""
    if isinstance(part, list):
        return [_without_places(item) for item in part]
    if not isinstance(part, dict):
        return part
    return {
        key: _without_places(value)
        for key, value in part.items()
        # weights of losses are numbers
        if key not in SWITCHES and not (key in PATHS and isinstance(value, str))
    }


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


def _check_same_start(work_dir: str, started_from: dict | None, path: str) -> None:
    """Raise InputError where a run that goes on began with other weights than its config names."""
    if path == UNTRAINED:
        same, named = started_from is None, "no weights"
    elif Path(path).is_file():
        sha256 = sha256_of(path)
        same = started_from is not None and started_from.get("sha256") == sha256
        named = f"{path} (SHA-256 {sha256[:12]})"
    else:
        return  # may be deleted once a run has begun with it
    if not same:
        began = "no weights"
        if started_from is not None:
            began = f"{started_from.get('file')} (SHA-256 {str(started_from.get('sha256'))[:12]})"
        raise InputError(
            f"The run in {work_dir} began with {began}, but model.backbone.init_cfg.checkpoint "
            f"names {named}: going on would pass one training off as the other. Give each its own "
            "--work-dir, or leave out --resume to train anew."
        )


@HOOKS.register_module()
class RecordHook(Hook):
    """Writes how and from what a run trains, and its command, into every checkpoint's meta."""

    def __init__(self):
        self._resumes = 0
        self._start_told = False
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
        elif self._start_told and self._loaded is None and path is not None:
            _check_same_start(runner.work_dir, self._started_from, path)
        # a whole model has taken the place of any weights that init_cfg names
        if path not in (None, UNTRAINED) and self._started_from is None and self._loaded is None:
            record = checkpoint_record(path)
            record["coverage"] = None if coverage is None else plain(coverage.record())
            self._started_from = record
        for start in (self._started_from, self._loaded):
            check_pretraining(runner.cfg, start)

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        plan, cfg = runner.batch_plan, runner.cfg.to_dict()
        teachers = _teachers(unwrap(runner.model))
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
            teachers=plain(teachers),
        )
        checkpoint["meta"]["data"] = self._data
        checkpoint["meta"]["recipe_digest"] = recipe_digest(
            runner.cfg, teachers, whole=self._loaded is not None
        )
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
            self._start_told = "started_from" in meta
            self._loaded = meta.get("loaded")
