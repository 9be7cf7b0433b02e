"""Evaluate a config with a checkpoint and write the result file that tables are built from."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from mmengine.config import Config
from mmengine.dist import is_main_process
from mmengine.runner import Runner

from semaim_mm.errors import InputError
from semaim_mm.interop.checkpoint_file import sha256_of
from semaim_mm.report.provenance import config_hash, git_state, hardware, versions
from semaim_mm.report.result import read_result, write_result
from semaim_mm.runtime.hooks import unwrap
from semaim_mm.runtime.launch import build_runner, default_work_dir, load_config, set_checkpoint
from semaim_mm.runtime.record import checkpoint_record, plain

# what comes with the weights: part of the method, not of the protocol that judges it
BACKBONE_OF_METHOD = (
    "type",
    "arch",
    "img_size",
    "patch_size",
    "init_cfg",
    "norm_cfg",
    "pre_norm",
    "qkv_bias",
    "layer_scale_init_value",
    "layer_cfgs",
    "patch_cfg",
    "num_registers",
    "rel_pos_bias",
    "with_cls_token",
    "frozen_pos_embed",
)


def evaluate(
    config: str,
    checkpoint: str | None,
    work_dir: str | None = None,
    options: dict | None = None,
    launcher: str = "none",
    method: str | None = None,
) -> dict:
    """Run a config's test loop -> the result, written to ``work_dir/result.json``.

    Args:
        checkpoint: a path, 'random' for the untrained model, None where the config takes none.
        work_dir: default work_dirs/<folder>/<config>/<method>/<checkpoint's name>.
        method: the row's name in tables; default: the folder that the checkpoint lies in.
    """
    method = method or _method_name(config, checkpoint)
    if work_dir is None:
        named = [] if checkpoint in (None, "random") else [Path(checkpoint).stem]
        work_dir = str(default_work_dir(config).joinpath(method, *named))
    cfg = load_config(config, options, work_dir, launcher)
    if cfg.get("test_cfg") is None:
        raise InputError(f"{config} has no test_cfg, so there is nothing to evaluate.")
    set_checkpoint(cfg, checkpoint)
    start = _now()
    cfg.augmented_test = cfg.get("tta_model") is not None
    runner = build_runner(cfg)
    for metric in getattr(getattr(runner.test_loop, "evaluator", None), "metrics", ()):
        if hasattr(metric, "dump_dir"):
            metric.dump_dir = work_dir
    metrics = runner.test()
    if not is_main_process():
        return {}
    cfg = runner.cfg  # as the runner resolved it: own classes, carried traits, another test set
    found = _outcomes(runner)
    record = _checkpoint_record(checkpoint, runner)
    size = len(runner.test_dataloader.dataset)
    result = dict(
        status="complete",
        method=method,
        arch=_arch_name(cfg.model.get("backbone", {})),
        task=cfg.get("task", Path(config).stem),
        metrics={name: dict(value=float(v), unit="percent") for name, v in metrics.items()},
        n_evaluated=size if found.n_evaluated is None else found.n_evaluated,
        n_dataset=size,
        protocol=protocol_of(cfg, getattr(runner.test_loop, "protocol", None)),
        selection=_selection(record, cfg),
        seed=runner.seed,
        config_hash=config_hash(cfg),
        git=git_state(),
        checkpoint=record,
        data=_data_record(cfg),
        versions=versions(),
        hardware=hardware(runner.world_size),
        run=dict(
            **found.run,
            preprocessor=plain(cfg.model.get("data_preprocessor", {})),
            training=((record or {}).get("origin") or {}).get("training"),
        ),
        start=start,
        end=_now(),
    )
    return read_result(write_result(work_dir, result, found.arrays or None))


class _Outcomes(NamedTuple):
    """What an evaluation leaves beside its metrics."""

    n_evaluated: int | None
    arrays: dict[str, np.ndarray]
    run: dict[str, Any]


def _outcomes(runner: Runner) -> _Outcomes:
    """-> per-image arrays, and what a protocol chose by itself or a metric left in files."""
    outcome = getattr(runner.test_loop, "outcome", None)
    if outcome is not None:
        correct = outcome.correct.numpy()
        return _Outcomes(len(correct), dict(correct=correct), dict(chosen=dict(outcome.chosen)))
    metrics = runner.test_evaluator.metrics
    if len(metrics) != 1:
        raise InputError(
            f"test_evaluator has {len(metrics)} metrics; give one, so that a result says which "
            "images it scored."
        )
    metric = metrics[0]
    run = {
        name: plain(getattr(metric, name))
        for name in ("per_class", "n_classes_counted")
        if hasattr(metric, name)
    }
    run["predictions"] = {
        kind: dict(file=Path(path).name, sha256=sha256_of(path))
        for kind, path in (getattr(metric, "predictions", None) or {}).items()
    }
    return _Outcomes(metric.n_evaluated, getattr(metric, "outcomes", None) or {}, run)


def protocol_of(cfg: Config, judge: Any = None) -> dict[str, Any]:
    """-> everything in a resolved config that decides a score, but for the weights themselves.

    ``judge`` is the built protocol of frozen features, whose defaults count too.
    """
    found = cfg.to_dict()
    model = dict(found["model"])
    backbone = model.pop("backbone", {})
    kept = {k: v for k, v in backbone.items() if k not in BACKBONE_OF_METHOD}
    preprocessor = model.get("data_preprocessor") or {}
    # mean and std travel with the weights
    model["data_preprocessor"] = {k: v for k, v in preprocessor.items() if k not in ("mean", "std")}
    trained = found.get("train_cfg") is not None
    keys = ("total_batch", "base_lr", "optim_wrapper", "param_scheduler", "train_cfg", "precision")
    evaluator = dict(found.get("test_evaluator") or {})
    evaluator.pop("ann_file", None)  # a path; what lies there is the data's own record
    init = backbone.get("init_cfg") or {}
    if judge is not None:
        evaluator |= {k: v for k, v in vars(judge).items() if not k.startswith("_")}
    bank = (found.get("test_cfg") or {}).get("bank_dataloader")
    return dict(
        task=found.get("task"),
        recipe=found.get("recipe"),
        classes=found.get("classes"),
        tta_model=found.get("tta_model"),
        test_set=found.get("test_set"),
        test_precision="fp32",
        model=model,
        backbone=kept,
        # weights that start fresh, and how positions grow, are the recipe's
        init=dict(
            new_keys=init.get("new_keys") or [], regrow_sincos=init.get("regrow_sincos", False)
        ),
        test_data=_data(found["test_dataloader"]),
        bank_data=None if bank is None else _data(bank),
        evaluator=evaluator,
        training={key: found.get(key) for key in keys} if trained else None,
        train_data=_data(found["train_dataloader"]) if trained else None,
    )


def _data(loader: dict) -> dict:
    dataset = loader["dataset"]
    dataset = dataset.get("dataset", dataset)
    keys = ("pipeline", "subset", "indices", "filter_cfg")
    return {key: dataset.get(key) for key in keys}


def _method_name(config: str, checkpoint: str | None) -> str:
    if checkpoint is None:
        return Path(config).stem.split("_")[-1]
    return checkpoint if checkpoint == "random" else Path(checkpoint).resolve().parent.name


def _arch_name(backbone: dict) -> str:
    arch = backbone.get("arch")
    if arch is None:
        return backbone.get("type", "unknown")
    if isinstance(arch, str):
        return f"ViT-{arch}/{backbone.get('patch_size', 16)}"
    return f"ViT-{arch['embed_dims']}x{arch['num_layers']}/{backbone.get('patch_size', 16)}"


def _checkpoint_record(checkpoint: str | None, runner: Runner) -> dict | None:
    if checkpoint in (None, "random"):
        return None
    record = checkpoint_record(checkpoint)
    coverage = getattr(getattr(unwrap(runner.model), "backbone", None), "coverage", None)
    if coverage is not None:
        record["coverage"] = plain(coverage.record())
    return record


def _selection(record: dict | None, cfg: Config) -> str:
    """How the checkpoint was chosen: the protocol is the last one; another is named so."""
    origin = (record or {}).get("origin") or {}
    training = origin.get("training") or {}
    if training.get("max_iters"):
        if origin.get("iter") != training["max_iters"]:
            return f"iteration {origin.get('iter')} of {training['max_iters']}"
        return cfg.get("selection", "last iteration")
    last = training.get("max_epochs")
    if last and origin.get("epoch") and origin["epoch"] != last:
        return f"epoch {origin['epoch']} of {last}"
    return cfg.get("selection", "last epoch")


def _data_record(cfg: Config) -> dict:
    root = Path(cfg.test_dataloader.dataset.get("data_root", ""))
    manifest = next(
        (p / "manifest.json" for p in (root, root.parent) if (p / "manifest.json").is_file()), None
    )
    return dict(name=root.name, manifest_sha256=None if manifest is None else sha256_of(manifest))


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
