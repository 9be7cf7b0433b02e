"""Attention with explicit matrices equals ours, outputs and gradients; ours builds no pairs."""

from __future__ import annotations

import pytest
import torch
from torch.testing import assert_close

from semaim_mm.bench.map_attention import (
    ExplicitAttention,
    MatrixBiasAttention,
    with_attention,
)
from semaim_mm.bench.step_facts import step_facts
from semaim_mm.vit import SemAIMViT

ARCH = dict(embed_dims=24, num_layers=4, num_heads=3, feedforward_channels=48)


def backbone(windows: dict | None = None, **options) -> SemAIMViT:
    """A small backbone in double precision, every parameter random."""
    maps = dict(out_type="featmap", final_norm=False, patch_size=4, img_size=32)
    made = SemAIMViT(arch=ARCH, windows=windows, **maps | options)
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.copy_(torch.randn_like(parameter) * 0.3)
    return made.double()


PATCHES_ONLY = dict(with_cls_token=False)
MAPS = {
    "decomposed, windows that don't tile": (dict(size=3, rel_pos="decomposed"), PATCHES_ONLY),
    "decomposed, made for another map": (
        dict(size=4, global_blocks=(1,), rel_pos="decomposed", map_size=6),
        PATCHES_ONLY,
    ),
    "shared tables": (dict(size=4, rel_pos="shared"), PATCHES_ONLY),
    "BEiT's bias with CLS": (None, dict(rel_pos_bias=True)),
    "BEiT's bias and decomposed tables at once": (
        dict(size=4, global_blocks=(1,), rel_pos="decomposed"),
        dict(rel_pos_bias=True, **PATCHES_ONLY),
    ),
    "no relative position": (None, {}),
}


@pytest.mark.parametrize("case", MAPS)
@pytest.mark.parametrize("kind", [ExplicitAttention, MatrixBiasAttention])
def test_outputs_and_gradients_equal_those_of_our_attention(case, kind):
    windows, options = MAPS[case]
    ours = backbone(windows, **options)
    other = with_attention(ours, kind)
    imgs = torch.randn(2, 3, 28, 32, dtype=torch.float64)
    for model in (ours, other):
        model(imgs)[-1].square().sum().backward()
    assert_close(other(imgs)[-1], ours(imgs)[-1], rtol=1e-10, atol=1e-10)
    gradients = {
        name.replace("attn.attn.", "attn."): p.grad for name, p in other.named_parameters()
    }
    for name, parameter in ours.named_parameters():
        assert_close(gradients[name], parameter.grad, rtol=1e-8, atol=1e-8, msg=name)


def test_a_copy_with_our_own_attention_is_the_same_and_shares_no_weight():
    ours = backbone(dict(size=4, rel_pos="decomposed"), **PATCHES_ONLY)
    copy = with_attention(ours, None)
    imgs = torch.randn(1, 3, 32, 32, dtype=torch.float64)
    assert torch.equal(copy(imgs)[-1], ours(imgs)[-1])
    assert not {p.data_ptr() for p in copy.parameters()} & {p.data_ptr() for p in ours.parameters()}


def test_ours_allocates_no_matrix_of_pairs_and_the_explicit_way_does():
    side, heads = 32, 2
    made = SemAIMViT(
        arch=dict(embed_dims=16, num_layers=1, num_heads=heads, feedforward_channels=16),
        windows=dict(rel_pos="decomposed"),
        patch_size=4,
        img_size=4 * side,
        out_type="featmap",
        with_cls_token=False,
    )
    pairs = heads * (side * side) ** 2 * 4
    facts = {}
    for kind in (ExplicitAttention, None):
        layer = with_attention(made, kind).layers[0].attn
        tokens = torch.randn(1, side * side, 16)

        def step(layer=layer, tokens=tokens):
            layer(tokens, grid=(side, side)).sum().backward()
            layer.zero_grad(set_to_none=True)

        facts[kind] = step_facts(step, "cpu")
    assert facts[ExplicitAttention].largest == pairs
    assert facts[None].largest < pairs / 4
    assert facts[None].peak < facts[ExplicitAttention].peak / 3
    assert facts[None].kernels == {"flash (CPU)": 1}
    assert facts[ExplicitAttention].kernels == {}
