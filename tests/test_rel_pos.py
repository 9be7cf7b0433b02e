"""The relative-position bias equals mmpretrain's BEiT table by table, and fits other grids."""

from __future__ import annotations

import pytest
import torch
from mmpretrain.models.backbones.beit import RelativePositionBias

from semaim_mm.errors import InputError
from semaim_mm.layers import ContentAttention
from semaim_mm.rel_pos import fold_bias, position_bias, resize_table, table_rows
from semaim_mm.vit import SemAIMViT

ARCH = dict(embed_dims=24, num_layers=2, num_heads=3, feedforward_channels=48)


@pytest.mark.parametrize("grid", [(3, 3), (2, 5), (5, 2), (1, 4)])
def test_every_pair_reads_the_row_that_beit_reads(grid):
    theirs = RelativePositionBias(grid, num_heads=3)
    table = torch.randn(table_rows(grid), 3)
    theirs.relative_position_bias_table.data.copy_(table)
    assert torch.equal(position_bias(table, grid, grid), theirs())


def test_a_resized_table_keeps_offsets_and_the_rows_of_cls():
    """A table that grows with the offset of rows still does, around the same middle."""
    offsets = torch.arange(-3.0, 4.0)[:, None].expand(7, 7)
    table = torch.cat([offsets.reshape(-1, 1), torch.ones(3, 1)])
    resized = resize_table(table, (4, 4), (8, 8))
    assert torch.equal(resized[-3:], table[-3:])
    rows = resized[:-3].reshape(15, 15)
    torch.testing.assert_close(rows, rows[:, :1].expand(15, 15))
    torch.testing.assert_close(rows.flip(0), -rows)
    assert rows[7, 0].abs() < 1e-6 and (rows[1:, 0] >= rows[:-1, 0]).all()


@pytest.mark.parametrize("grid", [(3, 5), (4, 4), (1, 7)])
def test_folded_products_are_the_scaled_scores_plus_the_decomposed_bias_of_every_pair(grid):
    rows, columns = grid
    q, k = torch.randn(2, 2, 3, rows * columns, 16, dtype=torch.float64).unbind()
    table_h, table_w = (torch.randn(2 * side - 1, 16, dtype=torch.float64) for side in grid)
    queries, keys = fold_bias(q, k, table_h, table_w, grid)
    assert queries.shape[-1] == keys.shape[-1] and queries.shape[-1] % 8 == 0
    found = queries @ keys.transpose(-2, -1)
    expected = q @ k.transpose(-2, -1) / 4
    for one in range(rows * columns):
        for other in range(rows * columns):
            (row, column), (its_row, its_column) = (divmod(n, columns) for n in (one, other))
            vectors = table_h[row - its_row + rows - 1], table_w[column - its_column + columns - 1]
            expected[..., one, other] += sum(q[..., one, :] @ vector for vector in vectors)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


def test_a_zero_table_changes_nothing_and_another_input_size_works():
    torch.manual_seed(0)
    plain = SemAIMViT(ARCH, img_size=16, patch_size=4, out_type="raw")
    plain.init_weights()
    biased = SemAIMViT(ARCH, img_size=16, patch_size=4, out_type="raw", rel_pos_bias=True)
    biased.load_state_dict(plain.state_dict(), strict=False)
    for size in ((16, 16), (12, 24)):
        x = torch.randn(2, 3, *size)
        torch.testing.assert_close(biased.eval()(x), plain.eval()(x), atol=1e-5, rtol=0)


def test_a_biased_backbone_refuses_another_order_than_raster():
    biased = SemAIMViT(ARCH, img_size=16, patch_size=4, rel_pos_bias=True)
    with pytest.raises(InputError, match="pretrain in another order without it"):
        next(biased.causal_states(torch.randn(1, 17, 24), stride=1))
    with pytest.raises(InputError, match="leave num_registers at 0"):
        SemAIMViT(ARCH, img_size=16, patch_size=4, rel_pos_bias=True, num_registers=1)


def test_registers_lie_between_cls_and_patches_and_belong_to_the_stem():
    backbone = SemAIMViT(ARCH, img_size=16, patch_size=4, num_registers=4, out_type="featmap")
    backbone.init_weights()
    x = torch.randn(2, 3, 16, 16)
    tokens = backbone.tokens(x)
    assert tokens.shape == (2, 1 + 4 + 16, 24) and backbone.num_extra_tokens == 5
    assert torch.equal(tokens[:, 1:5], backbone.register_tokens.expand(2, -1, -1))
    assert backbone(x)[-1].shape == (2, 24, 4, 4)
    assert backbone.get_layer_depth("backbone.register_tokens", "backbone.") == (0, 4)
    frozen = SemAIMViT(ARCH, img_size=16, patch_size=4, num_registers=4, frozen_stages=1)
    assert not frozen.register_tokens.requires_grad


def test_decomposed_tables_count_in_causal_attention_too():
    attention = ContentAttention(embed_dims=8, num_heads=2, rel_pos_vectors=(2, 3), cls=False)
    for parameter in attention.parameters():
        torch.nn.init.normal_(parameter)
    x = torch.randn(1, 6, 8)
    with pytest.raises(InputError, match="belongs to tokens in raster order"):
        attention(x, causal=True)
    q, k, v = attention.split_heads(x)
    queries, keys = fold_bias(q, k, attention.rel_pos_h, attention.rel_pos_w, (2, 3))
    later = torch.ones(6, 6, dtype=torch.bool).triu(1)
    weights = (queries @ keys.transpose(-2, -1)).masked_fill(later, -torch.inf).softmax(-1)
    expected = attention.project((weights @ v).transpose(1, 2).flatten(2))
    torch.testing.assert_close(attention(x, causal=True, grid=(2, 3)), expected)
