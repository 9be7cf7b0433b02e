"""The shipped leaves that faults are injected into, each small enough for a test."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from conftest import write_images
from dense_data import write_ade, write_coco

from semaim_mm.vit import SemAIMViT

PRETRAIN = "configs/pretrain/semaim_tiny.py"
FINETUNE = "configs/cls/finetune_tiny.py"
DETECT = "configs/det/mask-rcnn_tiny_vitdet.py"
SEGMENT = "configs/seg/upernet_tiny.py"
ARCH = dict(embed_dims=96, num_layers=4, num_heads=4, feedforward_channels=384)
SMALL = {
    "log_level": "INFO",
    "default_hooks.logger.interval": 1,
    "model.backbone.arch.num_layers": 2,
    "model.backbone.arch.embed_dims": 48,
    "model.backbone.arch.num_heads": 2,
    "model.backbone.arch.feedforward_channels": 96,
}


def loaders(*names: str, workers: int = 0) -> dict[str, Any]:
    """Loaders' options: that many workers for training, none for the rest."""
    found = {"train_dataloader.num_workers": workers}
    return found | {f"{name}.num_workers": 0 for name in names}


def pretraining(root: Path, workers: int = 0) -> dict[str, Any]:
    """3 epochs of 4 updates of 2 steps of 2 images, with drop path and EMA; the options."""
    if not (root / "pretrain").is_dir():
        write_images(root / "pretrain", 18, size=64)
        write_images(root / "pretrain_val", 4, size=64, seed=1)
    return {
        **SMALL,
        **loaders("val_dataloader", "val_cfg.mean_dataloader", workers=workers),
        "data_root": str(root),
        "total_batch": 4,
        "train_dataloader.batch_size": 2,
        "train_cfg.max_epochs": 3,
        "param_scheduler.0.end": 1,
        "param_scheduler.1.begin": 1,
        "model.neck.query_depth": 1,
        "model.backbone.drop_path_rate": 0.2,
        "model.ema": {},
    }


def finetuning(root: Path, workers: int = 0) -> dict[str, Any]:
    """3 epochs of 3 updates of 2 steps, with mixup, cutmix, drop path, RandAugment and erasing."""
    if not (root / "train").is_dir():
        for index, name in enumerate(("ant", "bee", "cat")):
            write_images(root / "train" / name, 4, size=64, seed=index)
            write_images(root / "val" / name, 2, size=64, seed=index + 10)
    pipeline = [
        dict(type="LoadImage"),
        dict(type="RandomResizedCrop", scale=64, backend="pillow", interpolation="bicubic"),
        dict(type="RandomFlip", prob=0.5),
        dict(type="RandAugment", policies="timm_increasing", num_policies=2, magnitude_level=9),
        dict(type="RandomErasing", erase_prob=0.5, mode="rand", fill_color=[100, 110, 120]),
        dict(type="PackInputs"),
    ]
    return {
        **SMALL,
        **loaders("val_dataloader", "test_dataloader", workers=workers),
        "data_root": str(root),
        "num_classes": 3,
        "total_batch": 4,
        "train_dataloader.batch_size": 2,
        "train_dataloader.dataset.dataset.pipeline": pipeline,
        "train_cfg.max_epochs": 3,
        "train_cfg.val_interval": 1,
        "model.backbone.init_cfg": None,
        "model.head.in_channels": 48,
        "model.backbone.drop_path_rate": 0.2,
    }


def _dense(root: Path, workers: int) -> dict[str, Any]:
    """What both have: 4 updates of 2 steps of 1 image, kept after every update."""
    weights = root / "semaim.pth"
    if not weights.is_file():
        torch.manual_seed(0)
        backbone = SemAIMViT(ARCH, img_size=64, patch_size=8)
        backbone.init_weights()
        torch.save({f"backbone.{k}": v for k, v in backbone.state_dict().items()}, weights)
    return {
        **loaders("val_dataloader", "test_dataloader", workers=workers),
        "val_dataloader.batch_size": 2,
        "default_hooks.logger.interval": 1,
        "total_batch": 2,
        "train_dataloader.batch_size": 1,
        "train_cfg.max_iters": 4,
        "train_cfg.val_interval": 4,
        "default_hooks.checkpoint.interval": 1,
        "param_scheduler.0.end": 1,
        "param_scheduler.1.begin": 0,
        "model.backbone.init_cfg.checkpoint": str(weights),
    }


def detection(root: Path, workers: int = 0) -> dict[str, Any]:
    """Mask R-CNN with large-scale jitter."""
    if not (root / "coco").is_dir():
        write_coco(root / "coco", ["animal", "food", "vehicle"], count=6)
    return {
        **_dense(root, workers),
        "data_root": str(root / "coco"),
        "param_scheduler.1.milestones": [2],
    }


def segmentation(root: Path, workers: int = 0) -> dict[str, Any]:
    """UperNet with random resizing, crops and photometric distortion; steps of 2 images."""
    if not (root / "ade").is_dir():
        write_ade(root / "ade", classes=4, count=6)
    return {
        **_dense(root, workers),
        "data_root": str(root / "ade"),
        "total_batch": 4,
        "train_dataloader.batch_size": 2,  # batch norm takes no fewer
    }
