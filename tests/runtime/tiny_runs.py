"""The tiny leaf of a pretraining, short enough to be run by a test."""

from __future__ import annotations

from pathlib import Path

from mmengine.config import Config

from semaim_mm.runtime.launch import load_config

TINY = "configs/pretrain/semaim_tiny.py"


def tiny_config(data: Path, work_dir: Path, **options) -> Config:
    """-> the leaf on the images of a folder, 4 an update, without validation."""
    cfg = load_config(
        TINY,
        {
            "log_level": "ERROR",
            "data_root": str(data),
            "total_batch": 4,
            "train_dataloader.batch_size": 4,
            "train_dataloader.num_workers": 0,
            "val_cfg": None,
            "val_dataloader": None,
            "val_evaluator": None,
            **options,
        },
        str(work_dir),
    )
    cfg.param_scheduler = [dict(type="CosineAnnealingLR", convert_to_iter_based=True)]
    return cfg
