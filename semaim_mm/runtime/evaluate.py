"""Evaluate a config with a checkpoint and write the result file that tables are built from."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.dist import is_main_process
from mmengine.runner import Runner
from torch import Tensor

from semaim_mm.errors import InputError
from semaim_mm.interop.checkpoint_file import read_file, sha256_of
from semaim_mm.report.provenance import config_hash, git_state, hardware, versions
from semaim_mm.report.result import read_result, write_result
from semaim_mm.runtime.hooks import unwrap
from semaim_mm.runtime.launch import build_runner, default_work_dir, load_config, set_checkpoint

ORIGIN = ("experiment_name", "epoch", "iter", "seed", "budget", "skipped_images")
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
        work_dir: default work_dirs/<folder>/<config>/<checkpoint's folder and name>.
        method: the row's name in tables; default: the folder that the checkpoint lies in.
    """
    method = method or _method_name(config, checkpoint)
    work_dir = work_dir or str(default_work_dir(config) / method)
    cfg = load_config(config, options, work_dir, launcher)
    if cfg.get("test_cfg") is None:
        raise InputError(f"{config} has no test_cfg, so there is nothing to evaluate.")
    set_checkpoint(cfg, checkpoint)
    start = _now()
    runner = build_runner(cfg)
    metrics = runner.test()
    if not is_main_process():
        return {}
    correct, chosen = _outcomes(runner)
    size = len(runner.test_dataloader.dataset)
    result = dict(
        status="complete",
        method=method,
        arch=_arch_name(cfg.model.get("backbone", {})),
        task=cfg.get("task", Path(config).stem),
        metrics={name: dict(value=float(v), unit="percent") for name, v in metrics.items()},
        n_evaluated=size if correct is None else len(correct),
        n_dataset=size,
        protocol=protocol_of(cfg),
        selection=cfg.get("selection", "last epoch"),
        seed=runner.seed,
        config_hash=config_hash(cfg),
        git=git_state(),
        checkpoint=_checkpoint_record(checkpoint, runner),
        data=_data_record(cfg),
        versions=versions(),
        hardware=hardware(runner.world_size),
        run=dict(chosen=chosen),
        start=start,
        end=_now(),
    )
    outcomes = None if correct is None else dict(correct=correct.numpy())
    return read_result(write_result(work_dir, result, outcomes))


def _outcomes(runner: Runner) -> tuple[Tensor | None, dict]:
    """-> whether each image was right (N,), and what a protocol chose by itself."""
    outcome = getattr(runner.test_loop, "outcome", None)
    if outcome is not None:
        return outcome.correct, dict(outcome.chosen)
    metrics = getattr(runner.test_evaluator, "metrics", ())
    kept = [m.correct for m in metrics if getattr(m, "correct", None) is not None]
    return (kept[0] if kept else None), {}


def protocol_of(cfg: Config) -> dict[str, Any]:
    """-> everything in a resolved config that decides a score, but for the weights themselves."""
    plain = cfg.to_dict()
    model = dict(plain["model"])
    backbone = model.pop("backbone", {})
    kept = {k: v for k, v in backbone.items() if k not in BACKBONE_OF_METHOD}
    trained = plain.get("train_cfg") is not None
    keys = ("total_batch", "base_lr", "optim_wrapper", "param_scheduler", "train_cfg", "precision")
    return dict(
        task=plain.get("task"),
        test_set=plain.get("test_set"),
        model=model,
        backbone=kept,
        test_pipeline=_pipeline(plain["test_dataloader"]),
        evaluator=plain.get("test_evaluator"),
        selection=plain.get("selection", "last epoch"),
        training={key: plain.get(key) for key in keys} if trained else None,
        train_pipeline=_pipeline(plain["train_dataloader"]) if trained else None,
    )


def _pipeline(loader: dict) -> Any:
    dataset = loader["dataset"]
    return dataset.get("pipeline") or dataset.get("dataset", {}).get("pipeline")


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
    meta = read_file(checkpoint).get("meta") or {}
    origin = {k: meta[k] for k in ORIGIN if k in meta}
    coverage = getattr(getattr(unwrap(runner.model), "backbone", None), "coverage", None)
    return dict(
        file=Path(checkpoint).name,
        sha256=sha256_of(checkpoint),
        origin=origin or None,
        coverage=None if coverage is None else coverage.record(),
    )


def _data_record(cfg: Config) -> dict:
    root = Path(cfg.get("data_root") or cfg.test_dataloader.dataset.get("data_root", ""))
    manifest = next(
        (p / "manifest.json" for p in (root, root.parent) if (p / "manifest.json").is_file()), None
    )
    return dict(name=root.name, manifest_sha256=None if manifest is None else sha256_of(manifest))


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
