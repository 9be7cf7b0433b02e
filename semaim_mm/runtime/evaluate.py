"""Evaluate a config with a checkpoint and write the result file that tables are built from."""

import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from mmengine.config import Config
from mmengine.dist import is_main_process
from mmengine.logging import print_log
from mmengine.runner import Runner

from semaim_mm.arch import arch_name
from semaim_mm.data.held_out import innermost
from semaim_mm.data.prepare.manifest import data_record
from semaim_mm.errors import InputError
from semaim_mm.interop.checkpoint_file import read_file, sha256_of
from semaim_mm.report.decided_by import decided_by
from semaim_mm.report.provenance import config_hash, git_state, hardware, versions
from semaim_mm.report.result import read_result, write_result
from semaim_mm.runtime.command_line import command_line
from semaim_mm.runtime.hooks import unwrap
from semaim_mm.runtime.launch import (
    build_runner,
    default_work_dir,
    draw_untrained,
    load_config,
    set_checkpoint,
)
from semaim_mm.runtime.pretraining_data import check_pretraining
from semaim_mm.runtime.protocol import protocol_of, training_of
from semaim_mm.runtime.record import checkpoint_record, plain


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
        work_dir: default work_dirs/<folder>/<config>/<method>/<checkpoint's name>, and the name of
            another ``test_set``.
        method: the row's name in tables; default: the folder that the checkpoint lies in, with
            the file's own name where no training of ours wrote it.
    """
    method = method or method_name(config, checkpoint)
    if work_dir is None:
        named = [] if checkpoint in (None, "random") else [Path(checkpoint).stem]
        named += [options["test_set"]] if (options or {}).get("test_set") else []
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
    if checkpoint == "random" and not hasattr(runner.test_loop, "protocol"):
        draw_untrained(runner)
    if cfg.get("pretraining_data") is not None and checkpoint not in (None, "random"):
        for weights in _pretrained(checkpoint_record(checkpoint), cfg):
            check_pretraining(runner.cfg, weights)
    metrics = runner.test()
    if not is_main_process():
        return {}
    cfg = runner.cfg  # as the runner resolved it: own classes, carried traits, another test set
    found = _outcomes(runner, work_dir)
    record = _checkpoint_record(checkpoint, runner)
    size = len(runner.test_dataloader.dataset)
    training = ((record or {}).get("origin") or {}).get("training")
    selection = _selection(record, cfg)
    protocol = protocol_of(
        cfg, getattr(runner.test_loop, "protocol", None), _trained_by(cfg, record), selection
    )
    result = dict(
        status="complete",
        method=method,
        arch=arch_name(cfg.model.get("backbone", {})),
        task=cfg.get("task", Path(config).stem),
        metrics={name: dict(value=float(v), unit="percent") for name, v in metrics.items()},
        n_evaluated=size if found.n_evaluated is None else found.n_evaluated,
        n_dataset=size,
        protocol=protocol,
        selection=selection,
        seed=runner.seed,
        config_hash=config_hash(cfg),
        git=git_state(),
        checkpoint=record,
        data=_data_record(cfg),
        versions=versions(),
        hardware=hardware(runner.world_size),
        run=dict(
            **found.run,
            command=command_line(),
            preprocessor=plain(cfg.model.get("data_preprocessor", {})),
            training=training,
            decided_by=decided_by(
                protocol, cfg.model.get("backbone", {}), training, found.run.get("chosen") or {}
            ),
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


def _outcomes(runner: Runner, folder: str) -> _Outcomes:
    """-> per-image arrays, and what a protocol chose by itself or a metric left in ``folder``."""
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
    truth = getattr(metric, "ann_file", None)
    if truth is not None and Path(truth).is_file():
        # from the result's own folder: that it finds it again where both are moved together
        place = Path(os.path.relpath(truth, folder)).as_posix()
        run["ground_truth"] = dict(file=place, sha256=sha256_of(truth))
    return _Outcomes(metric.n_evaluated, getattr(metric, "outcomes", None) or {}, run)


def _pretrained(record: dict, cfg: Config) -> list[dict | None]:
    """-> the records of pretrained weights: of a model trained on the task, what it began as."""
    origin = record["origin"] or {}
    if training_of(cfg) is None or "training" not in origin:
        return [record]
    return [record["started_from"], origin.get("loaded")]


def _trained_by(cfg: Config, record: dict | None) -> dict | None:
    """-> how the tested model was trained on its task, as its own checkpoint says.

    A leaf that says otherwise, e.g. by overrides that only the training had, is told in the log.
    """
    leaf = training_of(cfg)
    if leaf is None or record is None:
        return None  # frozen features, or a model that was not trained
    recorded = ((record["origin"] or {}).get("training") or {}).get("recipe")
    if recorded is None:
        print_log("The checkpoint does not record its training; the config's is taken for it.")
        return leaf
    leaf = plain(leaf)
    leaf["data"]["manifest"] = (recorded.get("data") or {}).get("manifest")
    differing = [key for key in recorded if recorded[key] != leaf.get(key)]
    if differing:
        print_log(
            f"The checkpoint was trained with another {', '.join(differing)} than this config "
            "says; the result's protocol is what the checkpoint records."
        )
    return recorded


def method_name(config: str, checkpoint: str | None) -> str:
    """-> what a checkpoint's results are called where nobody says it."""
    if checkpoint is None:
        return Path(config).stem.split("_")[-1]
    if checkpoint == "random":
        return checkpoint
    file = Path(checkpoint).resolve()
    if not file.is_file() or "training" in (read_file(file).get("meta") or {}):
        return file.parent.name
    # files of other code lie in one folder, each of another method
    return f"{file.parent.name}-{file.stem}"


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
        update = origin.get("iter", 0) // (training.get("accumulation") or 1)
        if update != training["max_iters"]:
            return f"update {update} of {training['max_iters']}{_chosen_on_val(training)}"
        return cfg.get("selection", "last update")
    last = training.get("max_epochs")
    if last and origin.get("epoch") and origin["epoch"] != last:
        return f"epoch {origin['epoch']} of {last}{_chosen_on_val(training)}"
    if record is not None and not training:
        return "as it came: its training is not recorded"
    return cfg.get("selection", "last epoch")


def _chosen_on_val(training: dict) -> str:
    best = training.get("save_best")
    return f", where the run kept its best {best} on validation" if best else ""


def _data_record(cfg: Config) -> dict:
    dataset = innermost(cfg.test_dataloader.dataset)
    record = data_record(dataset)
    annotations = Path(dataset.get("data_root") or "", dataset.get("ann_file") or "")
    if annotations.is_file():
        record["annotations_sha256"] = sha256_of(annotations)
    return record


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
