"""Window attention equals mmpretrain's ViTSAM and, in one window, plain attention."""

from __future__ import annotations

import pytest
import torch
from mmpretrain.models import ViTSAM
from torch.testing import assert_close

from semaim_mm.errors import InputError
from semaim_mm.interop import load_backbone
from semaim_mm.interop.backbone_checkpoint import load_backbone_weights
from semaim_mm.pos_embed import sincos_pos_embed
from semaim_mm.vit import SemAIMViT
from semaim_mm.windows import from_windows, to_windows

ARCH = dict(embed_dims=24, num_layers=4, num_heads=3, feedforward_channels=48)
MAP = dict(out_type="featmap", final_norm=False, with_cls_token=False, patch_size=4, img_size=32)


def dense(windows: dict | None = None, seed: int = 0, **options) -> SemAIMViT:
    """A small backbone in eval mode with every parameter random."""
    backbone = SemAIMViT(**dict(arch=ARCH, windows=windows, **MAP) | options)
    torch.manual_seed(seed)
    with torch.no_grad():
        for parameter in backbone.parameters():
            parameter.copy_(torch.randn_like(parameter) * 0.3)
    return backbone.eval()


@pytest.mark.parametrize("grid", [(8, 8), (7, 10), (3, 5), (9, 4)])
def test_windows_are_the_blocks_of_the_padded_map_and_go_back(grid):
    rows, columns = grid
    tokens = torch.randn(2, rows * columns, 3)
    windows = to_windows(tokens, grid, 4)
    down, across = -(-rows // 4), -(-columns // 4)
    assert windows.shape == (2 * down * across, 16, 3)
    padded = torch.zeros(2, down * 4, across * 4, 3)
    padded[:, :rows, :columns] = tokens.view(2, rows, columns, 3)
    last = padded[1, -4:, -4:].reshape(16, 3)
    assert torch.equal(windows[-1], last)
    assert torch.equal(
        windows[1 % (down * across)].view(4, 4, 3)[0, 0],
        padded[0, 4 if across == 1 and down > 1 else 0, 4 if across > 1 else 0],
    )
    assert torch.equal(from_windows(windows, grid, 4), tokens)


@pytest.mark.parametrize("rel_pos", [None, "shared", "decomposed"])
def test_one_window_as_large_as_the_map_is_global_attention(rel_pos):
    one = dense(dict(size=8, global_blocks=(), rel_pos=rel_pos, map_size=8))
    whole = dense(dict(size=0, rel_pos=rel_pos, map_size=8))
    state = one.state_dict()
    if rel_pos == "shared":
        state["rel_pos_shared.whole"] = state.pop("rel_pos_shared.window")
    whole.load_state_dict(state, strict=True)
    imgs = torch.randn(2, 3, 32, 32)
    assert torch.equal(one(imgs)[-1], whole(imgs)[-1])


def test_a_bias_of_zero_is_no_bias():
    plain = dense()
    imgs = torch.randn(2, 3, 28, 44)
    for rel_pos in ("shared", "decomposed"):
        biased = dense(dict(rel_pos=rel_pos))
        biased.load_state_dict(plain.state_dict(), strict=False)
        with torch.no_grad():
            for name, parameter in biased.named_parameters():
                if "rel_pos" in name:
                    parameter.zero_()
        assert_close(biased(imgs)[-1], plain(imgs)[-1], atol=2e-5, rtol=1e-5)


@pytest.mark.parametrize("size", [(32, 32), (28, 44), (20, 36), (64, 64)])
def test_it_equals_vitsam_with_padding_and_resized_tables(size):
    ours = dense(dict(size=3, global_blocks=(1, 3), rel_pos="decomposed"), out_indices=[0, 1, 2, 3])
    theirs = ViTSAM(
        arch=dict(ARCH, global_attn_indexes=[1, 3]),
        img_size=32,
        patch_size=4,
        out_channels=0,
        out_indices=[0, 1, 2, 3],
        window_size=3,
    )
    state = ours.state_dict()
    state["pos_embed"] = state["pos_embed"].view(1, 8, 8, -1)
    theirs.load_state_dict(state, strict=True)
    theirs.eval()
    imgs = torch.randn(2, 3, *size)
    with torch.no_grad():
        for found, expected in zip(ours(imgs), theirs(imgs), strict=True):
            assert_close(found, expected, atol=2e-5, rtol=1e-5)


def test_a_shared_table_adds_the_row_of_every_offset():
    backbone = dense(dict(size=4, global_blocks=(3,), rel_pos="shared", map_size=(6, 5)))
    assert backbone.rel_pos_shared["whole"].shape == (11 * 9, 3)
    bias = backbone.shared_biases((6, 5))
    for kind, (rows, columns) in (("whole", (6, 5)), ("window", (4, 4))):
        table = backbone.rel_pos_shared[kind].view(2 * rows - 1, 2 * columns - 1, 3)
        for query, key in ((0, 0), (0, rows * columns - 1), (7, 3), (rows * columns - 2, 1)):
            down = query // columns - key // columns + rows - 1
            across = query % columns - key % columns + columns - 1
            assert torch.equal(bias[kind][:, query, key], table[down, across])


def test_checkpointed_blocks_give_the_same_gradients_under_drop_path():
    imgs = torch.randn(3, 3, 32, 32)
    gradients = []
    for with_cp in (False, True):
        windows = dict(size=3, global_blocks=(1, 3), rel_pos="shared")
        backbone = dense(windows, drop_path_rate=0.5, with_cp=with_cp).train()
        torch.manual_seed(1)
        backbone(imgs)[-1].square().mean().backward()
        gradients.append([p.grad for p in backbone.parameters()])
        assert all(g is not None for g in gradients[-1])
    for plain, recomputed in zip(*gradients, strict=True):
        assert_close(recomputed, plain, atol=1e-7, rtol=1e-5)


def test_drop_path_drops_whole_images_not_windows():
    backbone = dense(dict(size=4, global_blocks=()), drop_path_rate=0.9).train()
    attention = backbone.layers[-1].attn
    torch.manual_seed(0)
    out = attention(torch.randn(64, 64, 24), grid=(8, 8))
    dropped = (out == 0).all(dim=2)
    assert 0 < dropped.all(dim=1).sum() < 64
    assert torch.equal(dropped.all(dim=1), dropped.any(dim=1))


@pytest.mark.parametrize(
    ("windows", "options", "message"),
    [
        (dict(size=4), dict(with_cls_token=True), "windows attend to patches only"),
        (dict(rel_pos="beit"), {}, "none of None, 'shared', 'decomposed'"),
        (
            dict(size=4, global_blocks=(3, 4)),
            {},
            r"names \[4\], but .* 0 to 3",
        ),
        (dict(size=4), dict(arch=dict(ARCH, num_layers=3)), "3 blocks have no quarters"),
        (dict(size=-1), {}, "windows.size=-1 is negative"),
    ],
)
def test_what_can_not_be_is_refused(windows, options, message):
    with pytest.raises(InputError, match=message):
        SemAIMViT(**dict(arch=ARCH, windows=windows, **MAP) | options)


def test_the_last_block_of_every_quarter_sees_the_whole_map():
    deep = dense(dict(size=4), arch=dict(ARCH, num_layers=12))
    assert [n for n, layer in enumerate(deep.layers) if not layer.attn.window_size] == [2, 5, 8, 11]


# --- weights from a plain checkpoint ---------------------------------------------------------


def save(backbone: SemAIMViT, path) -> str:
    torch.save(
        dict(state_dict={f"backbone.{k}": v for k, v in backbone.state_dict().items()}), path
    )
    return str(path)


def plain(**options) -> SemAIMViT:
    torch.manual_seed(5)
    backbone = SemAIMViT(**dict(arch=ARCH, img_size=16, patch_size=4) | options)
    with torch.no_grad():
        for parameter in backbone.parameters():
            parameter.copy_(torch.randn_like(parameter) * 0.3)
    return backbone


@pytest.mark.parametrize("rel_pos", ["shared", "decomposed"])
def test_a_plain_checkpoint_fills_all_but_the_new_tables(tmp_path, rel_pos):
    source = plain()
    backbone = dense(dict(size=3, rel_pos=rel_pos))
    new = [k for k in backbone.state_dict() if "rel_pos" in k]
    pattern = "rel_pos_shared.*" if rel_pos == "shared" else "*.rel_pos_*"
    coverage = load_backbone_weights(backbone, save(source, tmp_path / "a.pth"), [pattern])
    assert list(coverage.new) == sorted(new) and len(new) == (1 if rel_pos == "shared" else 8)
    assert "CLS left out" in str(coverage) and "interpolated from 4 x 4 to 8 x 8" in str(coverage)
    weight = "layers.2.attn.qkv.weight"
    assert torch.equal(backbone.state_dict()[weight], source.state_dict()[weight])
    with pytest.raises(InputError, match="lacks"):
        load_backbone_weights(backbone, tmp_path / "a.pth")


@pytest.mark.parametrize("row_first", [False, True])
def test_a_sincos_table_is_computed_anew_in_its_own_axis_order(tmp_path, row_first):
    source = plain()
    source.pos_embed.data = sincos_pos_embed((4, 4), 24, row_first=row_first)
    path = save(source, tmp_path / "a.pth")
    backbone = dense(dict(size=4))
    load_backbone_weights(backbone, path, regrow_sincos=True)
    assert_close(backbone.pos_embed.data, sincos_pos_embed((8, 8), 24, 0, row_first=row_first))
    load_backbone_weights(backbone, path)
    anew = sincos_pos_embed((8, 8), 24, 0, row_first=row_first)
    assert (backbone.pos_embed - anew).abs().mean() > 0.05


def test_a_learned_table_is_interpolated_all_the_same(tmp_path):
    source = plain()
    path = save(source, tmp_path / "a.pth")
    backbone = dense(dict(size=4))
    coverage = load_backbone_weights(backbone, path, regrow_sincos=True)
    assert "positions interpolated" in str(coverage)
    expected = source.positions((8, 8))[:, 1:]
    assert_close(backbone.pos_embed.data, expected.detach())


def test_tables_of_every_block_are_resized_to_what_it_attends_to(tmp_path):
    source = plain(rel_pos_bias=True)
    path = save(source, tmp_path / "a.pth")
    backbone = dense(dict(size=3, global_blocks=(1, 3)), rel_pos_bias=True)
    load_backbone_weights(backbone, path)
    rows = [len(layer.attn.relative_position_bias_table) for layer in backbone.layers]
    assert rows == [25, 225, 25, 225]
    # the middle, no offset at all, stays where it was
    middle = source.layers[0].attn.relative_position_bias_table[:49].view(7, 7, 3)[3, 3]
    assert_close(backbone.layers[0].attn.relative_position_bias_table.view(5, 5, 3)[2, 2], middle)


def test_registers_are_left_out_before_windows_and_kept_without(tmp_path):
    source = plain(num_registers=2)
    path = save(source, tmp_path / "a.pth")
    backbone = dense(dict(size=4), img_size=16)
    coverage = load_backbone_weights(backbone, path)
    assert "registers left out" in str(coverage)
    assert torch.equal(backbone.pos_embed, source.pos_embed[:, 3:])
    kept = load_backbone(path, out_type="featmap", final_norm=False, num_heads=3)
    assert kept.num_extra_tokens == 3


def test_weights_that_may_be_new_are_loaded_where_the_file_has_them(tmp_path):
    """A recipe that starts LayerScale and tables afresh takes those that a checkpoint brings."""
    source = plain(rel_pos_bias=True, layer_scale_init_value=0.1)
    path = save(source, tmp_path / "a.pth")
    backbone = SemAIMViT(
        arch=ARCH, img_size=16, patch_size=4, rel_pos_bias=True, layer_scale_init_value=1e-5
    )
    backbone.init_weights()
    patterns = ["*.relative_position_bias_table", "*.gamma?.weight"]
    coverage = load_backbone_weights(backbone, path, patterns)
    assert coverage.new == ()
    for name in ("gamma1.weight", "relative_position_bias_table"):
        key = f"layers.1.attn.{name}"
        assert torch.equal(backbone.state_dict()[key], source.state_dict()[key])


def test_shared_tables_are_frozen_with_the_last_block():
    frozen = dense(dict(size=4, global_blocks=(3,), rel_pos="shared"), frozen_stages=4)
    assert not any(p.requires_grad for p in frozen.parameters())
    partly = dense(dict(size=4, global_blocks=(3,), rel_pos="shared"), frozen_stages=2)
    assert all(p.requires_grad for p in partly.rel_pos_shared.values())


def test_a_misspelt_key_of_windows_is_named():
    with pytest.raises(InputError, match="windows has no window_size; its keys are size"):
        dense(dict(window_size=4))
