"""Every parameter's learning rate and weight decay, in a detector, segmenter and classifier.

``pytest -s`` prints the tables.
"""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import mmdet
import pytest
import torch
from decay_settings import DECAY, FLAT, LR, MMPRETRAINS, TOKENS, settings, wrap
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope
from torch import nn

import semaim_mm.transfer.pyramid  # noqa: F401  (registration)
from semaim_mm.arch import SIZES

DETECTOR = Path(mmdet.__file__).parent / ".mim/configs/_base_/models/mask-rcnn_r50_fpn.py"
# what has no weight decay beside tokens and positions, by name, as the recipes say it
FREE = {
    "detector": r"\.ln\d?\.(weight|bias)$|^neck\.levels\.0\.0\.1\.(weight|bias)$|\.rel_pos_[hw]$",
    "segmenter": r"\.bias$|\.(ln\d?|bn)\.weight$|^neck\.upsample_4x\.1\.weight$",
    "classifier": r"\.bias$|\.ln\d?\.weight$",
}
PARAMWISE = dict(detector=dict(norm_decay_mult=0.0), segmenter=FLAT, classifier=FLAT)


def backbone(arch: str, **kwargs) -> dict:
    return dict(type="mmpretrain.SemAIMViT", arch=arch, final_norm=False, **kwargs)


def detector(arch: str) -> tuple[str, dict]:
    cfg = Config.fromfile(DETECTOR).model
    windows = dict(size=14, rel_pos="decomposed")
    cfg.backbone = backbone(
        arch, img_size=1024, out_type="featmap", with_cls_token=False, windows=windows
    )
    cfg.neck = dict(type="SimpleFeaturePyramid", in_channels=SIZES[arch][0])
    return "mmdet", cfg


def segmenter(arch: str) -> tuple[str, dict]:
    width, depth, _ = SIZES[arch]
    taps = [3, 5, 7, 11] if depth == 12 else [7, 11, 15, 23]
    loss = dict(type="CrossEntropyLoss", avg_non_ignore=True)
    common = dict(
        num_classes=150, norm_cfg=dict(type="SyncBN"), align_corners=False, loss_decode=loss
    )
    return "mmseg", dict(
        type="EncoderDecoder",
        backbone=backbone(arch, out_type="featmap", out_indices=taps),
        neck=dict(type="Feature2Pyramid", embed_dim=width, rescales=[4, 2, 1, 0.5]),
        decode_head=dict(
            type="UPerHead", in_channels=[width] * 4, in_index=[0, 1, 2, 3], channels=768, **common
        ),
        auxiliary_head=dict(type="FCNHead", in_channels=width, in_index=2, channels=256, **common),
        test_cfg=dict(mode="whole"),
    )


def classifier(arch: str) -> tuple[str, dict]:
    return "mmpretrain", dict(
        type="ImageClassifier",
        backbone=backbone(arch, out_type="avg_featmap"),
        head=dict(type="LinearClsHead", num_classes=1000, in_channels=SIZES[arch][0]),
    )


@cache
def on_meta(make, arch: str) -> nn.Module:
    """A full-size model without memory."""
    scope, cfg = make(arch)
    with DefaultScope.overwrite_default_scope(scope), torch.device("meta"):
        return MODELS.build(cfg)


def expected(name: str, depth: int, rate: float, free: str) -> tuple[float, float]:
    """The rule written out: a parameter's name -> its scale and weight decay."""
    block = re.match(r"backbone\.layers\.(\d+)\.", name)
    if name.startswith(("backbone.patch_embed.", "backbone.cls_token", "backbone.pos_embed")):
        layer = 0
    elif block:
        layer = int(block[1]) + 1
    else:
        layer = depth + 1
    tokens = ("backbone.cls_token", "backbone.pos_embed")
    decay = 0.0 if name in tokens or re.search(free, name) else DECAY
    return rate ** (depth + 1 - layer), decay


@pytest.mark.parametrize(
    "make, arch, rate, stem, first, last",
    [
        (detector, "base", 0.7, 0.009688901, 0.013841287, 0.7),
        (detector, "large", 0.8, 0.003777893, 0.004722366, 0.8),
        (segmenter, "base", 0.65, 0.003697205, 0.005688009, 0.65),
        (segmenter, "large", 0.75, 0.000752543, 0.001003391, 0.75),
        (classifier, "base", 0.65, 0.003697205, 0.005688009, 0.65),
        (classifier, "large", 0.75, 0.000752543, 0.001003391, 0.75),
    ],
)
def test_every_parameter_has_the_rate_and_decay_of_its_place(make, arch, rate, stem, first, last):
    model, depth, kind = on_meta(make, arch), SIZES[arch][1], make.__name__
    wrapper = wrap(model, dict(layer_decay_rate=rate, **PARAMWISE[kind]))
    found = {name: (lr / LR, wd) for name, (lr, wd) in settings(model, wrapper).items()}
    table = {n: expected(n, depth, rate, FREE[kind]) for n, _ in model.named_parameters()}
    print(f"\n{kind}, ViT-{arch}, rate {rate}: lr scale, weight decay, parameter")
    for name in table:
        print(f"{found[name][0]:.6f} {found[name][1]:.2f} {name}")
    assert found.keys() == table.keys()
    assert not {n: (found[n], table[n]) for n in table if found[n] != pytest.approx(table[n])}
    # the ends of the scale as numbers, not by the rule
    assert found["backbone.pos_embed"] == pytest.approx((stem, 0), rel=1e-6)
    assert found["backbone.patch_embed.projection.weight"] == pytest.approx((stem, DECAY), rel=1e-6)
    assert found["backbone.layers.0.attn.qkv.weight"][0] == pytest.approx(first, rel=1e-6)
    assert found[f"backbone.layers.{depth - 1}.attn.qkv.weight"][0] == pytest.approx(last)
    outside = [found[name][0] for name in table if not name.startswith("backbone.")]
    assert len(outside) > 1 and set(outside) == {1.0}
    # with and without weight decay, of the stem, every block and the rest
    assert len(wrapper.optimizer.param_groups) == 2 * (depth + 2)


@pytest.mark.parametrize("arch", ["base", "large"])
def test_a_classifier_has_what_mmpretrains_constructor_gives_it(arch):
    model = on_meta(classifier, arch)
    paramwise = dict(layer_decay_rate=0.65, custom_keys=TOKENS, **FLAT)
    theirs = wrap(model, paramwise, MMPRETRAINS)
    assert len(theirs.optimizer.param_groups) == len(list(model.parameters()))
    assert settings(model, wrap(model, paramwise)) == settings(model, theirs)
