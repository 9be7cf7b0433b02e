"""The backbone is mmpretrain's VisionTransformer, with the authors' position table and start."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from mmpretrain.models import VisionTransformer
from mmpretrain.models.utils import build_2d_sincos_position_embedding
from torch.testing import assert_close

from semaim_mm.arch import vit_arch
from semaim_mm.errors import InputError
from semaim_mm.pos_embed import sincos_pos_embed
from semaim_mm.vit import SemAIMViT

ARCH = dict(embed_dims=24, num_layers=4, num_heads=2, feedforward_channels=48)


def randomised(seed: int = 0, **kwargs) -> SemAIMViT:
    """A small backbone in eval mode, all weights random but the position table."""
    torch.manual_seed(seed)
    backbone = SemAIMViT(**dict(arch=ARCH, img_size=(16, 24), patch_size=4) | kwargs)
    with torch.no_grad():
        for name, parameter in backbone.named_parameters():
            if name != "pos_embed":
                parameter.copy_(torch.randn_like(parameter) * 0.2)
    return backbone.eval()


def twin(backbone: SemAIMViT, **kwargs) -> VisionTransformer:
    """mmpretrain's own class with the same weights."""
    kwargs = dict(arch=dict(ARCH), img_size=(16, 24), patch_size=4) | kwargs
    plain = VisionTransformer(**kwargs)
    plain.load_state_dict(backbone.state_dict(), strict=True)
    plain.eval()  # returns None in mmpretrain
    return plain


@pytest.mark.parametrize("size", [(16, 24), (24, 16), (16, 16), (40, 28)])
@pytest.mark.parametrize("out_type", ["cls_token", "raw", "featmap", "avg_featmap"])
def test_it_equals_mmpretrains_vit_for_every_output_and_size(out_type, size):
    options = dict(out_type=out_type, out_indices=[0, 2, -1])
    ours = randomised(**options)
    theirs = twin(ours, **options | dict(out_indices=[0, 2, -1]))
    imgs = torch.randn(2, 3, *size)
    with torch.no_grad():
        found, expected = ours(imgs), theirs(imgs)
    assert len(found) == len(expected) == 3
    for a, b in zip(found, expected, strict=True):
        assert_close(a, b, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    "options",
    [
        dict(with_cls_token=False, out_type="avg_featmap"),
        dict(pre_norm=True),
        dict(final_norm=False, out_type="featmap"),
        dict(layer_scale_init_value=0.1),
        dict(qkv_bias=False),
    ],
    ids=lambda options: next(iter(options)),
)
def test_it_equals_mmpretrains_vit_under_its_other_options(options):
    ours = randomised(**options)
    theirs, imgs = twin(ours, **options), torch.randn(2, 3, 16, 24)
    with torch.no_grad():
        assert_close(ours(imgs)[0], theirs(imgs)[0], rtol=1e-5, atol=1e-5)


def test_encode_is_the_raw_output_and_block_outputs_are_each_blocks_own():
    ours = randomised(out_type="raw", out_indices=[0, 1, 2, 3])
    unnormed = twin(ours, out_type="raw", out_indices=[0, 1, 2, 3])
    unnormed.final_norm = False
    imgs = torch.randn(2, 3, 16, 24)
    with torch.no_grad():
        assert_close(ours.encode(imgs), ours(imgs)[-1], rtol=1e-5, atol=1e-5)
        states, expected = dict(ours.block_outputs(imgs, [1, 3])), unnormed(imgs)
    assert sorted(states) == [1, 3]
    for block, state in states.items():
        assert_close(state, expected[block], rtol=1e-5, atol=1e-5)


def test_a_causal_token_does_not_depend_on_later_ones():
    layer = randomised().layers[0]
    tokens = torch.randn(1, 6, 24)
    changed = torch.cat([tokens[:, :4], torch.randn(1, 2, 24)], dim=1)
    with torch.no_grad():
        causal = layer(tokens, causal=True), layer(changed, causal=True)
        free = layer(tokens), layer(changed)
    assert torch.equal(causal[0][:, :4], causal[1][:, :4])
    assert not torch.isclose(free[0][:, :4], free[1][:, :4]).all()
    assert_close(causal[0][:, -1], free[0][:, -1])


def test_the_cls_attention_is_the_softmax_of_the_last_blocks_scores():
    block = randomised().layers[3]
    tokens = torch.randn(2, 7, 24)
    with torch.no_grad():
        q, k, _ = block.attn.qkv(tokens).view(2, 7, 3, 2, 12).unbind(2)
        scores = torch.einsum("bhd,bnhd->bhn", q[:, 0], k) / math.sqrt(12)
        assert_close(block.attn.class_attention(tokens), scores.softmax(-1))


@pytest.mark.parametrize("grid", [(6, 4), (8, 8), (3, 5)])
def test_a_state_dict_of_another_square_grid_is_interpolated(grid):
    small = randomised(img_size=(16, 16))
    with torch.no_grad():
        small.pos_embed.copy_(torch.randn_like(small.pos_embed))
    large = randomised(seed=1, img_size=(grid[0] * 4, grid[1] * 4))
    large.load_state_dict(small.state_dict())
    table = small.pos_embed[:, 1:].transpose(1, 2).reshape(1, 24, 4, 4)
    expected = F.interpolate(table, size=grid, mode="bicubic", align_corners=False)
    assert_close(large.pos_embed[:, 1:], expected.flatten(2).transpose(1, 2))
    assert torch.equal(large.pos_embed[:, :1], small.pos_embed[:, :1])
    assert torch.equal(large.layers[3].attn.qkv.weight, small.layers[3].attn.qkv.weight)


def test_layer_depths_are_stem_blocks_and_head():
    backbone = randomised(out_type="avg_featmap")
    depth = {name: backbone.get_layer_depth(name)[0] for name, _ in backbone.named_parameters()}
    for name in ("cls_token", "pos_embed", "patch_embed.projection.weight"):
        assert depth[name] == 0
    for block in range(4):
        assert depth[f"layers.{block}.attn.qkv.weight"] == block + 1
    assert depth["ln1.weight"] == depth["ln2.weight"] == 5
    assert backbone.get_layer_depth("backbone.layers.1.ln1.bias", "backbone.") == (2, 6)
    assert backbone.get_layer_depth("head.fc.weight", "backbone.") == (5, 6)


@pytest.mark.parametrize(("frozen", "norm_trains"), [(2, True), (4, False)])
def test_frozen_stages_stay_in_eval_mode_and_take_no_gradient(frozen, norm_trains):
    backbone = SemAIMViT(
        arch=ARCH, img_size=(16, 24), patch_size=4, frozen_stages=frozen, drop_path_rate=0.5
    )
    assert backbone.train() is backbone
    frozen_parts = [backbone.patch_embed, *backbone.layers[:frozen]]
    free_parts = list(backbone.layers[frozen:])
    for part in frozen_parts:
        assert not any(module.training for module in part.modules())
        assert not any(parameter.requires_grad for parameter in part.parameters())
    for part in free_parts:
        assert all(module.training for module in part.modules())
        assert all(parameter.requires_grad for parameter in part.parameters())
    assert not backbone.cls_token.requires_grad
    assert not backbone.pos_embed.requires_grad
    assert backbone.ln1.weight.requires_grad == norm_trains
    backbone.init_weights()
    assert not backbone.pos_embed.requires_grad


def test_the_position_table_is_frozen_only_where_asked():
    trains = {f: randomised(frozen_pos_embed=f).pos_embed.requires_grad for f in (True, False)}
    assert trains == {True: False, False: True}


def test_drop_path_rises_linearly_over_the_blocks_as_python_floats():
    backbone = randomised(drop_path_rate=0.3)
    rates = [layer.attn.out_drop.drop_prob for layer in backbone.layers]
    assert rates == pytest.approx([0.0, 0.1, 0.2, 0.3])
    assert [layer.ffn.dropout_layer.drop_prob for layer in backbone.layers[1:]] == rates[1:]
    assert {type(rate) for rate in rates} == {float}


def test_the_position_table_is_the_authors_and_the_transpose_of_mmpretrains(reference):
    theirs = reference.arrays["state.pos_embed"]
    assert_close(sincos_pos_embed((14, 14), 48), theirs, rtol=0, atol=1e-6)
    mmpretrain = build_2d_sincos_position_embedding((14, 14), 48)
    transposed = mmpretrain.view(14, 14, 48).transpose(0, 1).reshape(1, 196, 48)
    assert_close(sincos_pos_embed((14, 14), 48)[:, 1:], transposed, rtol=0, atol=1e-5)
    assert (sincos_pos_embed((14, 14), 48)[:, 1:] - mmpretrain).abs().max() > 1.9


def test_on_a_rectangular_grid_the_first_half_encodes_the_column_and_the_second_the_row():
    table = sincos_pos_embed((3, 5), 8)[0]
    assert torch.equal(table[0], torch.zeros(8))
    for row in range(3):
        for column in range(5):
            angles = [column, column / 100, row, row / 100]
            expected = [*map(math.sin, angles[:2]), *map(math.cos, angles[:2])]
            expected += [*map(math.sin, angles[2:]), *map(math.cos, angles[2:])]
            assert table[1 + row * 5 + column].tolist() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(
    ("arch", "numbers", "parameters"),
    [
        ("tiny", (192, 12, 3), 5_524_416),
        ("small", (384, 12, 6), 21_665_664),
        ("base", (768, 12, 12), 85_798_656),
        ("large", (1024, 24, 16), 303_301_632),
        ("huge", (1280, 32, 16), 630_918_400),
    ],
)
def test_the_named_sizes_are_the_fields(arch, numbers, parameters):
    with torch.device("meta"):
        backbone = SemAIMViT(arch=arch)
    heads = backbone.arch_settings["num_heads"]
    assert (backbone.embed_dims, len(backbone.layers), heads) == numbers
    assert backbone.arch_settings["feedforward_channels"] == 4 * numbers[0]
    assert backbone.patch_resolution == (14, 14)
    assert sum(p.numel() for p in backbone.parameters()) == parameters
    assert vit_arch(*numbers) == backbone.arch_settings


def xavier_bound(weight: torch.Tensor) -> float:
    rows, columns = weight.shape[0], weight[0].numel()
    return math.sqrt(6 / (rows + columns))


def test_the_start_is_the_authors(tiny_model):
    arch = dict(embed_dims=96, num_heads=4, feedforward_channels=384)
    model = tiny_model(noise=0, backbone=dict(arch=arch, img_size=(64, 64), patch_size=8))
    linear = [m for m in model.modules() if isinstance(m, torch.nn.Linear)]
    assert len(linear) == 4 * 4 + 2 * 6 + 2
    projection = model.backbone.patch_embed.projection
    for weight in [projection.weight, *(layer.weight for layer in linear)]:
        bound = xavier_bound(weight)  # the fused qkv is one (3D x D) matrix, as theirs
        assert weight.abs().max() <= bound
        assert weight.abs().max() > 0.98 * bound
        assert weight.std().item() == pytest.approx(bound / math.sqrt(3), rel=0.05)
    assert all((layer.bias == 0).all() for layer in linear)
    for module in model.modules():
        if isinstance(module, torch.nn.LayerNorm):
            assert module.eps == 1e-6
            assert (module.weight == 1).all()
            assert (module.bias == 0).all()
    assert 0.015 < model.backbone.cls_token.std() < 0.025
    assert torch.equal(model.backbone.pos_embed, sincos_pos_embed((8, 8), 96))


def test_the_patch_projection_keeps_the_bias_of_a_convolution(tiny_model):
    bias = tiny_model(noise=0).backbone.patch_embed.projection.bias
    bound = 1 / math.sqrt(3 * 4 * 4)
    assert bound / 2 < bias.abs().max() <= bound


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        (dict(arch="giant"), "no arch 'giant'; choose one of tiny, small, base, large, huge"),
        (dict(img_size=225), "img_size=225 is not a multiple of patch_size=16.* 224 x 224"),
        (dict(img_size=(224, 8)), r"img_size=\(224, 8\) is not a multiple"),
        (dict(arch=ARCH | dict(num_heads=7)), "num_heads=7 does not divide embed_dims=24"),
        (dict(arch=ARCH | dict(embed_dims=30)), "embed_dims=30 can't carry a 2-D sin-cos"),
    ],
)
def test_a_size_that_can_not_be_is_refused_with_a_sentence(wrong, sentence):
    with pytest.raises(InputError, match=sentence):
        SemAIMViT(**wrong)


def test_an_initialiser_of_another_kind_is_refused():
    backbone = SemAIMViT(arch=ARCH, img_size=16, patch_size=4, init_cfg=dict(type="Xavier"))
    with pytest.raises(InputError, match="no init_cfg of type 'Xavier'"):
        backbone.init_weights()
