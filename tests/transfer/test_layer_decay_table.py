"""Every parameter's learning rate and weight decay, in a detector, segmenter and classifier.

``pytest -s`` prints the tables.
"""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import pytest
import torch
from decay_settings import DECAY, LR, MMPRETRAINS, TOKENS, settings, wrap
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
FREE["cls_token"] = FREE["classifier"]
# learning rate (for 256 images, where the batch sets it) and weight decay that the papers print;
# the scales below are of LR and DECAY
OPTIMIZER = {
    "vitdet": (1e-4, 0.1),
    "benchmarking": (8e-5, 0.1),
    "upernet": (1e-4, 0.05),
    "relpos": (1e-4, 0.05),
    "classifier": (5e-4, 0.05),
    "cls_token": (5e-4, 0.05),
    "classifier large": (1e-3, 0.05),
    "cls_token large": (1e-3, 0.05),
}
NAMES = dict(
    vitdet="det/mask-rcnn_semaim-vit{}_vitdet-100ep_coco.py",
    benchmarking="det/mask-rcnn_semaim-vit{}_benchmarking-100ep_coco.py",
    upernet="seg/upernet_semaim-vit{}_160k_ade20k-512x512.py",
    relpos="seg/upernet-relpos_semaim-vit{}_160k_ade20k-512x512.py",
    classifier="cls/finetune_vit{}.py",
    cls_token="cls/finetune-cls_vit{}.py",
)
# a ViT-L of what ships for ViT-B alone, as --cfg-options would make it
ENLARGED = dict(
    benchmarking={
        "model.backbone.arch": "large",
        "model.backbone.out_indices": [5, 11, 17, 23],
        "model.neck.0.embed_dim": 1024,
        "model.neck.1.in_channels": [1024] * 4,
    },
    relpos={
        "model.backbone.arch": "large",
        "model.backbone.out_indices": [7, 11, 15, 23],
        "model.neck.embed_dim": 1024,
        "model.decode_head.in_channels": [1024] * 4,
        "model.auxiliary_head.in_channels": 1024,
        "optim_wrapper.paramwise_cfg.layer_decay_rate": 0.75,
    },
)


@cache
def leaf_of(protocol: str, arch: str) -> Config:
    enlarged = ENLARGED.get(protocol) if arch == "large" else None
    size = "l" if arch == "large" and not enlarged else "b"
    cfg = Config.fromfile(LEAVES / NAMES[protocol].format(size))
    cfg.merge_from_dict(enlarged or {})
    return cfg


@cache
def on_meta(protocol: str, arch: str) -> nn.Module:
    """A leaf's model in full size, without memory."""
    cfg = leaf_of(protocol, arch)
    with DefaultScope.overwrite_default_scope(cfg.default_scope), torch.device("meta"):
        return MODELS.build(cfg.model)


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


def paramwise_of(protocol: str, arch: str) -> dict:
    """A leaf's own settings, whose optimiser is the recipe's."""
    cfg = leaf_of(protocol, arch)
    wrapper = cfg.optim_wrapper
    assert wrapper.constructor == "LayerDecayConstructor"
    found = (wrapper.optimizer.get("lr", cfg.get("base_lr")), wrapper.optimizer.weight_decay)
    assert found == OPTIMIZER.get(f"{protocol} {arch}", OPTIMIZER[protocol])
    return wrapper.paramwise_cfg.to_dict()


BASE = ("base", 0.65, 0.003697205, 0.005688009, 0.65)
LARGE = ("large", 0.75, 0.000752543, 0.001003391, 0.75)


@pytest.mark.parametrize(
    "protocol, arch, rate, stem, first, last",
    [
        ("vitdet", "base", 0.7, 0.009688901, 0.013841287, 0.7),
        ("vitdet", "large", 0.8, 0.003777893, 0.004722366, 0.8),
        ("benchmarking", "base", 1.0, 1.0, 1.0, 1.0),
        ("benchmarking", "large", 1.0, 1.0, 1.0, 1.0),
        *((name, *size) for name in ("upernet", "relpos") for size in (BASE, LARGE)),
        *((name, *size) for name in ("classifier", "cls_token") for size in (BASE, LARGE)),
    ],
)
def test_every_parameter_has_the_rate_and_decay_of_its_place(
    protocol, arch, rate, stem, first, last
):
    model, depth = on_meta(protocol, arch), SIZES[arch][1]
    assert model.backbone.embed_dims == SIZES[arch][0] and len(model.backbone.layers) == depth
    paramwise = paramwise_of(protocol, arch)
    assert paramwise["layer_decay_rate"] == rate
    wrapper = wrap(model, paramwise)
    found = {name: (lr / LR, wd) for name, (lr, wd) in settings(model, wrapper).items()}
    trained = [name for name, p in model.named_parameters() if p.requires_grad]
    table = {name: expected(name, depth, rate, FREE[protocol]) for name in trained}
    print(f"\n{protocol}, ViT-{arch}, rate {rate}: lr scale, weight decay, parameter")
    for name in table:
        print(f"{found[name][0]:.6f} {found[name][1]:.2f} {name}")
    assert found.keys() == table.keys()
    assert not {n: (found[n], table[n]) for n in table if found[n] != pytest.approx(table[n])}
    # the ends of the scale as numbers, not by the rule
    if protocol == "benchmarking":
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


def test_a_leaf_is_enlarged_here_only_where_none_of_that_size_ships():
    rows = {name.format(size) for name in NAMES.values() for size in "bl"}
    absent = {name for name in rows if not (LEAVES / name).is_file()}
    assert absent == {NAMES[protocol].format("l") for protocol in ENLARGED}


def test_relative_position_decays_where_its_protocol_says_so():
    tables = {}
    for protocol in ("vitdet", "benchmarking"):
        model = on_meta(protocol, "base")
        paramwise = paramwise_of(protocol, "base") | dict(layer_decay_rate=1.0)
        found = settings(model, wrap(model, paramwise))
        tables[protocol] = [wd for name, (_, wd) in found.items() if "rel_pos" in name]
    assert tables == dict(vitdet=[DECAY] * 24, benchmarking=[0.0] * 2)


@pytest.mark.parametrize("arch", ["base", "large"])
def test_a_classifier_has_what_mmpretrains_constructor_gives_it(arch):
    model = on_meta("classifier", arch)
    paramwise = paramwise_of("classifier", arch)
    theirs = wrap(model, paramwise | dict(custom_keys=TOKENS), MMPRETRAINS)
    assert len(theirs.optimizer.param_groups) == len(list(model.parameters()))
    assert settings(model, wrap(model, paramwise)) == settings(model, theirs)
