"""Every parameter's learning rate and weight decay, in a detector, segmenter and classifier.

``pytest -s`` prints the tables.
"""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import pytest
import torch
from decay_settings import DECAY, FLAT, LR, MMPRETRAINS, TOKENS, settings, wrap
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope
from torch import nn

import semaim_mm.transfer.pyramid  # noqa: F401  (registration)
from semaim_mm.arch import SIZES

LEAVES = Path(__file__).resolve().parents[2] / "configs"
# what has no weight decay beside tokens and positions, by name, as the recipes say it
FREE = {
    "vitdet": r"\.ln\d?\.(weight|bias)$|^neck\.levels\.0\.0\.1\.(weight|bias)$",
    "benchmarking": r"\.(ln\d?|bn)\.(weight|bias)$|^neck\.0\.upsample_4x\.1\.|\.rel_pos_shared\.",
    "upernet": r"\.bias$|\.(ln\d?|bn)\.weight$|^neck\.upsample_4x\.1\.weight$",
    # and LayerScale; the tables of relative position decay, as in mmseg's BEiT
    "relpos": r"\.bias$|\.(ln\d?|bn|gamma\d)\.weight$|^neck\.upsample_4x\.1\.weight$",
    "classifier": r"\.bias$|\.ln\d?\.weight$",
}
PARAMWISE = dict(classifier=FLAT)
# learning rate and weight decay that the papers print; the scales below are of LR and DECAY
OPTIMIZER = dict(
    vitdet=(1e-4, 0.1), benchmarking=(8e-5, 0.1), upernet=(1e-4, 0.05), relpos=(1e-4, 0.05)
)
NAMES = dict(
    vitdet="det/mask-rcnn_semaim-vit{}_vitdet-100ep_coco.py",
    benchmarking="det/mask-rcnn_semaim-vit{}_benchmarking-100ep_coco.py",
    upernet="seg/upernet_semaim-vit{}_160k_ade20k-512x512.py",
    relpos="seg/upernet-relpos_semaim-vit{}_160k_ade20k-512x512.py",
)


def backbone(arch: str, **kwargs) -> dict:
    return dict(type="mmpretrain.SemAIMViT", arch=arch, final_norm=False, **kwargs)


def leaf_of(protocol: str, arch: str) -> Config:
    return Config.fromfile(LEAVES / NAMES[protocol].format(dict(base="b", large="l")[arch]))


def vitdet(arch: str) -> tuple[str, dict]:
    return "mmdet", leaf_of("vitdet", arch).model


def benchmarking(arch: str) -> tuple[str, dict]:
    return "mmdet", leaf_of("benchmarking", arch).model


def upernet(arch: str) -> tuple[str, dict]:
    return "mmseg", leaf_of("upernet", arch).model


def relpos(arch: str) -> tuple[str, dict]:
    return "mmseg", leaf_of("relpos", arch).model


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


def paramwise_of(make, arch: str, rate: float) -> dict:
    """A leaf's own settings where it is a shipped one, those of its recipe else."""
    if make.__name__ in PARAMWISE:
        return dict(layer_decay_rate=rate, **PARAMWISE[make.__name__])
    wrapper = leaf_of(make.__name__, arch).optim_wrapper
    assert wrapper.constructor == "LayerDecayConstructor"
    optimizer = wrapper.optimizer
    assert (optimizer.lr, optimizer.weight_decay) == OPTIMIZER[make.__name__]
    return wrapper.paramwise_cfg.to_dict()


@pytest.mark.parametrize(
    "make, arch, rate, stem, first, last",
    [
        (vitdet, "base", 0.7, 0.009688901, 0.013841287, 0.7),
        (vitdet, "large", 0.8, 0.003777893, 0.004722366, 0.8),
        (benchmarking, "base", 1.0, 1.0, 1.0, 1.0),
        (upernet, "base", 0.65, 0.003697205, 0.005688009, 0.65),
        (upernet, "large", 0.75, 0.000752543, 0.001003391, 0.75),
        (relpos, "base", 0.65, 0.003697205, 0.005688009, 0.65),
        (classifier, "base", 0.65, 0.003697205, 0.005688009, 0.65),
        (classifier, "large", 0.75, 0.000752543, 0.001003391, 0.75),
    ],
)
def test_every_parameter_has_the_rate_and_decay_of_its_place(make, arch, rate, stem, first, last):
    model, depth, kind = on_meta(make, arch), SIZES[arch][1], make.__name__
    paramwise = paramwise_of(make, arch, rate)
    assert paramwise["layer_decay_rate"] == rate
    wrapper = wrap(model, paramwise)
    found = {name: (lr / LR, wd) for name, (lr, wd) in settings(model, wrapper).items()}
    trained = [name for name, p in model.named_parameters() if p.requires_grad]
    table = {name: expected(name, depth, rate, FREE[kind]) for name in trained}
    print(f"\n{kind}, ViT-{arch}, rate {rate}: lr scale, weight decay, parameter")
    for name in table:
        print(f"{found[name][0]:.6f} {found[name][1]:.2f} {name}")
    assert found.keys() == table.keys()
    assert not {n: (found[n], table[n]) for n in table if found[n] != pytest.approx(table[n])}
    # the ends of the scale as numbers, not by the rule
    if make is benchmarking:
        assert "backbone.pos_embed" not in found  # frozen
    else:
        assert found["backbone.pos_embed"] == pytest.approx((stem, 0), rel=1e-6)
    assert found["backbone.patch_embed.projection.weight"] == pytest.approx((stem, DECAY), rel=1e-6)
    assert found["backbone.layers.0.attn.qkv.weight"][0] == pytest.approx(first, rel=1e-6)
    assert found[f"backbone.layers.{depth - 1}.attn.qkv.weight"][0] == pytest.approx(last)
    outside = [found[name][0] for name in table if not name.startswith("backbone.")]
    assert len(outside) > 1 and set(outside) == {1.0}
    # with and without weight decay, of the stem, every block and the rest
    assert len(wrapper.optimizer.param_groups) == 2 * (1 if rate == 1 else depth + 2)


def test_relative_position_decays_where_its_protocol_says_so():
    tables = {}
    for make in (vitdet, benchmarking):
        model = on_meta(make, "base")
        found = settings(model, wrap(model, paramwise_of(make, "base", 1.0)))
        tables[make] = [wd for name, (_, wd) in found.items() if "rel_pos" in name]
    assert tables == {vitdet: [DECAY] * 24, benchmarking: [0.0] * 2}


@pytest.mark.parametrize("arch", ["base", "large"])
def test_a_classifier_has_what_mmpretrains_constructor_gives_it(arch):
    model = on_meta(classifier, arch)
    paramwise = dict(layer_decay_rate=0.65, custom_keys=TOKENS, **FLAT)
    theirs = wrap(model, paramwise, MMPRETRAINS)
    assert len(theirs.optimizer.param_groups) == len(list(model.parameters()))
    assert settings(model, wrap(model, paramwise)) == settings(model, theirs)
