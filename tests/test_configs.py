"""Every config loads, the recipe's numbers are the paper's, and a leaf changes what it says."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from leaf_changes import CHANGES, GONE
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
    "model.data_preprocessor.flip_prob": 0.5,
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


# what leaves take beside their base
PARTS = ("_base_/segment_multi_scale.py",)


@pytest.mark.parametrize("name", ALL)
def test_a_config_loads_and_opens_with_a_docstring(name):
    assert (ROOT / name).read_text().startswith('"""')
    cfg = Config.fromfile(ROOT / name)
    if name in PARTS:
        return
    scopes = {"det": ["mmdet"], "seg": ["mmseg"], "_base_": ["mmpretrain", "mmdet", "mmseg"]}
    assert cfg.default_scope in scopes.get(name.split("/")[0], ["mmpretrain"])
    assert cfg.runner_type == "TransferRunner"


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


@pytest.mark.parametrize("leaf", sorted(p.name for p in ROOT.glob("cls/lowshot-*.py")))
def test_results_on_few_labels_are_called_so_whatever_the_size(leaf):
    share, kind = leaf.removeprefix("lowshot-").split("_")[:2]
    named = {"finetune": "finetune", "logreg": "logistic regression"}[kind]
    told = f"low-shot {share.removesuffix('pct')} %, {named}"
    assert Config.fromfile(ROOT / "cls" / leaf).task == told
