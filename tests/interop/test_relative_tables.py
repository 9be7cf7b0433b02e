"""Relative-position tables of a file load where the backbone has them, interpolated to its area."""

from __future__ import annotations

import pytest
import torch
from mmpretrain.models import ViTSAM
from torch import Tensor
from torch.testing import assert_close

from semaim_mm.errors import InputError
from semaim_mm.interop import load_backbone, load_backbone_weights
from semaim_mm.vit import SemAIMViT

ARCH = dict(embed_dims=24, num_layers=4, num_heads=3, feedforward_channels=48)
MAP = dict(out_type="featmap", final_norm=False, with_cls_token=False, patch_size=4, img_size=32)
SMALL = dict(size=3, global_blocks=(1, 3), map_size=(8, 8))
LARGE = dict(size=5, global_blocks=(1, 3), map_size=(6, 10))


def randomise(backbone: torch.nn.Module) -> torch.nn.Module:
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in backbone.parameters():
            parameter.copy_(torch.randn_like(parameter) * 0.3)
    backbone.eval()
    return backbone


def build(windows: dict | None, **options) -> SemAIMViT:
    return SemAIMViT(**dict(arch=ARCH, windows=windows, **MAP) | options).eval()


def saved(backbone: torch.nn.Module, tmp_path, prefix: str = "backbone.") -> str:
    path = tmp_path / "checkpoint.pth"
    torch.save({f"{prefix}{k}": v for k, v in backbone.state_dict().items()}, path)
    return str(path)


def stretched(line: Tensor, length: int) -> Tensor:
    """(old, ...) -> (length, ...), linear between the centres of cells, one number at a time."""
    old, out = len(line), []
    for place in range(length):
        at = min(max((place + 0.5) * old / length - 0.5, 0.0), old - 1.0)
        low = min(int(at), old - 2)
        out.append(line[low] * (low + 1 - at) + line[low + 1] * (at - low))
    return torch.stack(out)


@pytest.mark.parametrize("rel_pos", ["shared", "decomposed"])
def test_a_backbone_saved_with_its_tables_loads_into_another_bit_for_bit(rel_pos, tmp_path):
    source = randomise(build(dict(SMALL, rel_pos=rel_pos)))
    init = dict(type="BackboneCheckpoint", checkpoint=saved(source, tmp_path))
    backbone = build(dict(SMALL, rel_pos=rel_pos), init_cfg=init)
    backbone.init_weights()
    assert backbone.coverage.matched == len(source.state_dict())
    for name, value in source.state_dict().items():
        assert torch.equal(backbone.state_dict()[name], value), name
    imgs = torch.randn(1, 3, 28, 44)
    assert torch.equal(backbone(imgs)[-1], source(imgs)[-1])


def test_decomposed_tables_of_other_windows_are_interpolated_along_their_axis(tmp_path):
    source = randomise(build(dict(SMALL, rel_pos="decomposed")))
    backbone = build(dict(LARGE, rel_pos="decomposed"))
    coverage = load_backbone_weights(backbone, saved(source, tmp_path))
    assert "8 relative-position tables interpolated" in str(coverage)
    for number, (rows, columns) in enumerate([(5, 5), (6, 10), (5, 5), (6, 10)]):
        old, new = source.layers[number].attn, backbone.layers[number].attn
        assert_close(new.rel_pos_h.data, stretched(old.rel_pos_h.data, 2 * rows - 1))
        assert_close(new.rel_pos_w.data, stretched(old.rel_pos_w.data, 2 * columns - 1))


@pytest.mark.parametrize("map_size", [(8, 8), (4, 7)])
def test_shared_tables_of_another_map_are_interpolated_along_both_axes(map_size, tmp_path):
    img_size = tuple(4 * side for side in map_size)
    source = build(dict(SMALL, map_size=map_size, rel_pos="shared"), img_size=img_size)
    backbone = build(dict(LARGE, rel_pos="shared"))
    load_backbone_weights(backbone, saved(randomise(source), tmp_path), grid=map_size)
    areas = dict(whole=(map_size, (6, 10)), window=((3, 3), (5, 5)))
    for kind, areas_of_kind in areas.items():
        old, new = ([2 * side - 1 for side in area] for area in areas_of_kind)
        table = source.rel_pos_shared[kind].data.view(*old, 3)
        expected = stretched(stretched(table, new[0]).transpose(0, 1), new[1]).transpose(0, 1)
        assert_close(backbone.rel_pos_shared[kind].data, expected.reshape(-1, 3))


@pytest.mark.parametrize("out_channels", [0, 16])
def test_vitsam_of_mmpretrain_loads_and_has_equal_features(out_channels, tmp_path):
    theirs = ViTSAM(
        arch=dict(ARCH, global_attn_indexes=[1, 3]),
        img_size=32,
        patch_size=4,
        out_channels=out_channels,
        window_size=3,
    )
    path = saved(randomise(theirs), tmp_path)
    theirs.channel_reduction = torch.nn.Identity()  # SAM's own neck, which is left out here
    theirs.out_channels = 0
    ours = build(dict(SMALL, rel_pos="decomposed"))
    load_backbone_weights(ours, path)
    for size in ((32, 32), (28, 44)):
        imgs = torch.randn(2, 3, *size)
        with torch.no_grad():
            assert_close(ours(imgs)[-1], theirs(imgs)[-1], atol=2e-5, rtol=1e-5)


@pytest.mark.parametrize(("rel_pos", "count"), [("shared", 2), ("decomposed", 8)])
@pytest.mark.parametrize("windows", [None, dict(size=3)])
def test_tables_without_a_place_name_the_setting_that_gives_it(rel_pos, count, windows, tmp_path):
    path = saved(randomise(build(dict(SMALL, rel_pos=rel_pos))), tmp_path)
    message = rf"has {count} weights that .*no place for.*windows=dict\(rel_pos='{rel_pos}'\)"
    with pytest.raises(InputError, match=message):
        load_backbone_weights(build(windows), path)
    with pytest.raises(InputError, match=message):
        load_backbone(path, num_heads=3)


def test_a_shared_table_of_an_unknown_map_is_named_with_what_to_say(tmp_path):
    source = build(dict(SMALL, map_size=(3, 8), rel_pos="shared"))
    path = saved(randomise(source), tmp_path)
    with pytest.raises(InputError, match=r"rel_pos_shared.whole has 75 rows, which neither"):
        load_backbone_weights(build(dict(LARGE, rel_pos="shared")), path)
