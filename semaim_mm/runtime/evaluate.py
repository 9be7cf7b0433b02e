"""Evaluate a config with a checkpoint and write the result file that tables are built from."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.dist import is_main_process
from mmengine.runner import Runner
from torch import Tensor

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
    runner = build_runner(cfg)
    metrics = runner.test()
    if not is_main_process():
        return {}
    cfg = runner.cfg  # as the runner resolved it: own classes, carried traits, another test set
    correct, chosen = _outcomes(runner)
    record = _checkpoint_record(checkpoint, runner)
    size = len(runner.test_dataloader.dataset)
    result = dict(
        status="complete",
        method=method,
        arch=_arch_name(cfg.model.get("backbone", {})),
        task=cfg.get("task", Path(config).stem),
        metrics={name: dict(value=float(v), unit="percent") for name, v in metrics.items()},
        n_evaluated=size if correct is None else len(correct),
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
            chosen=chosen,
            preprocessor=plain(cfg.model.get("data_preprocessor", {})),
            training=((record or {}).get("origin") or {}).get("training"),
        ),
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
    if judge is not None:
        evaluator |= {k: v for k, v in vars(judge).items() if not k.startswith("_")}
    bank = (found.get("test_cfg") or {}).get("bank_dataloader")
    return dict(
        task=found.get("task"),
        test_set=found.get("test_set"),
        test_precision="fp32",
        model=model,
        backbone=kept,
        test_data=_data(found["test_dataloader"]),
        bank_data=None if bank is None else _data(bank),
        evaluator=evaluator,
        training={key: found.get(key) for key in keys} if trained else None,
        train_data=_data(found["train_dataloader"]) if trained else None,
    )


def _data(loader: dict) -> dict:
    dataset = loader["dataset"]
    dataset = dataset.get("dataset", dataset)
    return dict(pipeline=dataset.get("pipeline"), subset=dataset.get("subset"))


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
    """How the checkpoint was chosen: the protocol is the last epoch; another one is named so."""
    origin = (record or {}).get("origin") or {}
    last = (origin.get("training") or {}).get("max_epochs")
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
