"""What tests of kept features share: images, a tiny teacher's file, and the leaf that uses both."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

from mmengine.config import Config
from mmpretrain.structures import DataSample
from teachers import CLIP, SHORT, random_teacher, save

from semaim_mm.runtime.launch import load_config

LEAF = "configs/pretrain/semaim_tiny_cached-features.py"
ARGS = dict(embed_dim=32, depth=2, num_heads=2, img_size=64, num_classes=24)
HELD_OUT = 4


def images_and_teacher(root: Path, make_images: Callable, count: int) -> Path:
    """Write ``count`` images, HELD_OUT others and a small CLIP tower with random weights."""
    make_images(root / "data/pretrain", count, size=64)
    make_images(root / "data/pretrain_val", HELD_OUT, size=64, seed=1)
    save(random_teacher(CLIP, **ARGS).state_dict(), root / "t.pth")
    return root


def cached_leaf(root: Path, folder: Path, **options) -> Config:
    """-> the tiny leaf on what ``images_and_teacher`` wrote, its features in ``folder``/cache."""
    cfg = load_config(LEAF, work_dir=str(folder / "run"))
    teacher = dict(type="CLIPTeacher", model=CLIP, model_args=ARGS, weights=str(root / "t.pth"))
    cache = str(folder / "cache")
    cfg.model.target_generator = dict(type="CachedTarget", teacher=teacher, folder=cache)
    cfg.merge_from_dict(
        {
            "data_root": str(root / "data"),
            "experiment_name": folder.name,
            **SHORT,
            "total_batch": 5,
            "train_dataloader.batch_size": 5,
            **options,
        }
    )
    return cfg


def samples(ids: Iterable[int]) -> list[DataSample]:
    """Sample ids -> samples of an epoch that have them."""
    return [DataSample(metainfo=dict(sample_key=(0, 3, number))) for number in ids]


def beside(cfg: Config, other: dict) -> None:
    """Put another target, at a quarter of the weight, beside a leaf's cached features."""
    cached = cfg.model.target_generator
    cfg.model.target_generator = dict(type="MultiTarget", generators=[cached, other])
    heads = [dict(loss="unit_l2"), dict(loss="unit_l2" if other["type"] != "PixelTarget" else "l2")]
    cfg.model.head = dict(type="MultiHead", heads=heads, weights=[1.0, 0.25])
