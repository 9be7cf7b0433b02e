"""Which parameters layer decay groups, spares, leaves out and refuses."""

from __future__ import annotations

import re
from copy import deepcopy

import pytest
import torch
from decay_settings import DECAY, FLAT, LR, MMPRETRAINS, TOKENS, settings, wrap
from mmengine.optim import CosineAnnealingLR
from mmengine.registry import MODELS
from mmpretrain.models import ViTSAM
from torch import nn
from torch.nn.utils import clip_grad_norm_

from semaim_mm.arch import vit_arch
from semaim_mm.errors import InputError
from semaim_mm.vit import SemAIMViT

NARROW = vit_arch(24, 4, 2)


def narrow_vit(**kwargs) -> SemAIMViT:
    return SemAIMViT(**dict(arch=NARROW, img_size=16, patch_size=4, out_type="featmap") | kwargs)


def toy(vit: nn.Module | None = None, **modules: nn.Module) -> nn.Module:
    """A model with a backbone, a ``head`` and what else is asked for."""
    model = nn.Module()
    model.backbone = vit or narrow_vit()
    model.head = nn.Linear(24, 3)
    for name, module in modules.items():
        setattr(model, name, module)
    return model


def undecayed(model: nn.Module, paramwise: dict | None) -> set[str]:
    return {
        name for name, (_, decay) in settings(model, wrap(model, paramwise)).items() if not decay
    }


@pytest.mark.parametrize(
    "vit, names",
    [
        (dict(num_registers=2), {"cls_token", "pos_embed", "register_tokens"}),
        (
            dict(rel_pos_bias=True),
            {"cls_token", "pos_embed"}
            | {f"layers.{i}.attn.relative_position_bias_table" for i in range(4)},
        ),
        (
            dict(with_cls_token=False, windows=dict(size=2, global_blocks=(3,), rel_pos="shared")),
            {"pos_embed", "rel_pos_shared.whole", "rel_pos_shared.window"},
        ),
        (
            dict(with_cls_token=False, windows=dict(size=2, rel_pos="decomposed")),
            {"pos_embed"} | {f"layers.{i}.attn.rel_pos_{axis}" for i in range(4) for axis in "hw"},
        ),
    ],
)
@pytest.mark.parametrize("paramwise", [None, dict(layer_decay_rate=0.7)])
def test_tokens_and_position_tables_escape_weight_decay_unasked(vit, names, paramwise):
    model = toy(narrow_vit(**vit))
    assert undecayed(model, paramwise) == {f"backbone.{name}" for name in names}


def test_tokens_are_known_by_whole_parts_of_a_name():
    vit = ViTSAM(
        arch=NARROW | dict(global_attn_indexes=[1, 3]), img_size=16, patch_size=4, window_size=2
    )
    model = toy(vit, rel_pos_shared=nn.Linear(2, 2), my_pos_embed_or_so=nn.Linear(2, 2))
    tables = {f"backbone.layers.{i}.attn.rel_pos_{axis}" for i in range(4) for axis in "hw"}
    tables |= {"backbone.pos_embed", "rel_pos_shared.weight", "rel_pos_shared.bias"}
    assert undecayed(model, dict(layer_decay_rate=0.7)) == tables


def test_custom_keys_come_before_what_escapes_unasked():
    keys = {
        "cls_token": dict(decay_mult=1.0),
        "layers.1": dict(decay_mult=0.0),
        "layers.1.attn": dict(decay_mult=0.5),
    }
    model = toy(narrow_vit(rel_pos_bias=True))
    found = settings(model, wrap(model, dict(custom_keys=keys, **FLAT)))
    assert found["backbone.cls_token"][1] == DECAY
    assert found["backbone.pos_embed"][1] == 0
    assert found["backbone.layers.1.ffn.layers.1.weight"][1] == 0
    # the longest key that fits, over the default for such tables and over the rule for biases
    assert found["backbone.layers.1.attn.relative_position_bias_table"][1] == DECAY / 2
    assert found["backbone.layers.1.attn.qkv.bias"][1] == DECAY / 2
    assert found["backbone.layers.2.attn.relative_position_bias_table"][1] == 0


def test_groups_and_the_parameters_in_them_keep_the_models_order():
    model = toy()
    place = {name: number for number, (name, _) in enumerate(model.named_parameters())}
    wrapper = wrap(model, dict(layer_decay_rate=0.7, **FLAT))
    groups = [[place[n] for n in g["param_names"]] for g in wrapper.optimizer.param_groups]
    assert [sorted(group) for group in groups] == groups
    assert sorted(group[0] for group in groups) == [group[0] for group in groups]


def test_without_layer_decay_two_groups_are_left():
    groups = wrap(toy(), dict(layer_decay_rate=1.0, **FLAT)).optimizer.param_groups
    assert [(g["lr"], g["weight_decay"]) for g in groups] == [(LR, 0), (LR, DECAY)]


def test_frozen_parameters_are_left_out():
    model = toy(narrow_vit(frozen_stages=2))
    model.head.bias.requires_grad = False
    found = settings(model, wrap(model, dict(layer_decay_rate=0.7)))
    assert found.keys() == {n for n, p in model.named_parameters() if p.requires_grad}
    assert {re.sub(r"(layers\.\d).*", r"\1", n) for n in found} == {
        *("backbone.layers.2", "backbone.layers.3", "backbone.ln1.weight", "backbone.ln1.bias"),
        "head.weight",
    }


def test_a_shared_parameter_is_taken_once_by_its_first_name():
    model = toy()
    model.twin = nn.Linear(24, 3)
    model.twin.weight = model.head.weight
    model.backbone.layers[3].attn.proj.bias = model.backbone.layers[1].attn.proj.bias
    model.again = model.head
    wrapper = wrap(model, dict(layer_decay_rate=0.5))
    found = settings(model, wrapper)  # which compares names with named_parameters()
    assert found.keys() == {name for name, _ in model.named_parameters()}
    assert found["backbone.layers.1.attn.proj.bias"][0] == LR * 0.5**3
    assert found["head.weight"][0] == LR and "twin.weight" not in found


def test_a_model_in_a_data_parallel_wrapper_has_the_same_groups():
    model = toy()
    parallel = nn.Module()
    parallel.module = model
    paramwise = dict(layer_decay_rate=0.7, **FLAT)
    alone, inside = (wrap(m, paramwise).optimizer.param_groups for m in (model, parallel))
    assert [g["param_names"] for g in alone] == [g["param_names"] for g in inside]
    assert settings(model, wrap(parallel, paramwise)) == settings(model, wrap(model, paramwise))


def trained(model: nn.Module, constructor: str) -> tuple[dict[str, torch.Tensor], list[float]]:
    """Five steps on fixed gradients under a schedule -> weights, and the last learning rates."""
    paramwise = dict(layer_decay_rate=0.65, custom_keys=TOKENS, **FLAT)
    wrapper = wrap(model, paramwise, constructor, lr=LR)
    schedule = CosineAnnealingLR(wrapper, T_max=5, eta_min_ratio=1e-3)
    draws = torch.Generator().manual_seed(0)
    for _ in range(5):
        for parameter in model.parameters():
            parameter.grad = torch.randn(parameter.shape, generator=draws)
        clip_grad_norm_(model.parameters(), 1.0)
        wrapper.step()
        schedule.step()
    rates = {lr: None for group in wrapper.optimizer.param_groups for lr in [group["lr"]]}
    return {n: p.detach().clone() for n, p in model.named_parameters()}, list(rates)


def test_merged_groups_train_as_one_group_a_parameter_does_to_the_bit():
    size = dict(arch=NARROW, img_size=16, patch_size=4, out_type="avg_featmap", final_norm=False)
    model = MODELS.build(
        dict(
            type="ImageClassifier",
            backbone=dict(type="SemAIMViT", **size),
            head=dict(type="LinearClsHead", num_classes=3, in_channels=24),
        )
    )
    start = deepcopy(model.state_dict())
    (ours, our_rates), (theirs, their_rates) = (
        trained(deepcopy(model), name) for name in ("LayerDecayConstructor", MMPRETRAINS)
    )
    assert our_rates == their_rates
    for name, weight in ours.items():
        assert torch.equal(weight, theirs[name]), name
        assert not torch.equal(weight, start[name]), name


def test_the_optimisers_state_survives_saving_and_loading():
    model = toy()
    first, second = (wrap(model, dict(layer_decay_rate=0.7, **FLAT)) for _ in range(2))
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    first.step()
    second.load_state_dict(deepcopy(first.state_dict()))
    saved, loaded = first.state_dict(), second.state_dict()
    assert saved["param_groups"] == loaded["param_groups"]
    assert saved["state"].keys() == loaded["state"].keys() != set()


@pytest.mark.parametrize(
    "paramwise, words",
    [
        (dict(decay_rate=0.7), "no paramwise_cfg key 'decay_rate' .*write decay_rate as layer_"),
        (dict(num_layers=12), "'num_layers' .*leave out the number of layers"),
        (dict(decay_type="layer_wise"), "'decay_type' .*mmseg"),
        (dict(norm_decay_mul=0.0), "is norm_decay_mult meant"),
        (dict(bypass_duplicate=True), "its keys are layer_decay_rate, "),
        (dict(layer_decay_rate=0.0), "layer_decay_rate=0.0 must be above 0"),
        (dict(layer_decay_rate=65), "layer_decay_rate=65 must be"),
        (dict(layer_decay_rate="0.65"), "layer_decay_rate='0.65' must be"),
        (dict(flat_decay_mult=-1), "flat_decay_mult=-1 must be a number"),
        (dict(custom_keys=dict(head=dict(lr_mult=10))), r"custom_keys\['head'\] is .*'lr_mult'"),
        (dict(custom_keys=dict(head=0.0)), r"custom_keys\['head'\] is 0.0"),
        (dict(custom_keys=dict(head=dict(decay_mult="0"))), r"\['head'\].decay_mult='0' must be"),
    ],
)
def test_settings_that_would_be_ignored_are_refused(paramwise, words):
    with pytest.raises(InputError, match=words):
        wrap(toy(), paramwise)


@pytest.mark.parametrize("key", ["lr", "weight_decay"])
def test_an_optimizer_without_what_is_scaled_is_refused(key):
    with pytest.raises(InputError, match=f"has no {key}; set it"):
        wrap(toy(), dict(custom_keys=TOKENS, **FLAT), **{key: None})


def test_a_model_whose_depth_is_unknown_is_refused():
    with pytest.raises(InputError, match="Linear has no backbone; use"):
        wrap(nn.Linear(2, 2), dict(layer_decay_rate=0.7))
    model = MODELS.build(
        dict(
            type="ImageClassifier",
            backbone=dict(type="LeNet5"),
            head=dict(type="LinearClsHead", num_classes=3, in_channels=84),
        )
    )
    with pytest.raises(InputError, match="ImageClassifier has a backbone, LeNet5, that has no get"):
        wrap(model, dict(layer_decay_rate=0.7))


def test_a_model_that_knows_its_own_depths_is_asked():
    model = nn.Linear(2, 2)
    model.get_layer_depth = lambda name: (dict(weight=0, bias=1)[name], 3)
    found = settings(model, wrap(model, dict(layer_decay_rate=0.5)))
    assert {name: lr / LR for name, (lr, _) in found.items()} == dict(weight=0.25, bias=0.5)


def test_a_model_with_nothing_to_train_is_refused():
    with pytest.raises(InputError, match="no parameter of Module trains"):
        wrap(toy().requires_grad_(False), dict(layer_decay_rate=0.7))
