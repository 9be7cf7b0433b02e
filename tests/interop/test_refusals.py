"""What can't be represented exactly is refused with its name, and nothing is loaded."""

from __future__ import annotations

from functools import partialmethod

import pytest
import timm
import torch
import transformers
from timm.models import vision_transformer as tvit

from semaim_mm.errors import InputError
from semaim_mm.interop import load_backbone, load_backbone_weights
from semaim_mm.vit import SemAIMViT

SMALL = dict(img_size=64, embed_dim=64, depth=1, num_heads=2, num_classes=0)
HF = dict(
    hidden_size=64, num_hidden_layers=1, num_attention_heads=2, intermediate_size=128,
    image_size=64, patch_size=16,
)  # fmt: skip


def named(name: str, **kwargs):
    return timm.create_model(name, pretrained=False, **SMALL | kwargs)


def plain(**kwargs):
    return tvit.VisionTransformer(**SMALL | kwargs)


class GatedAttention(timm.layers.Attention):
    """timm's attention with the gate that its ViT has no argument for."""

    __init__ = partialmethod(timm.layers.Attention.__init__, gated=True)


REAL = {
    "timm DINOv2 giant": (
        lambda: named("vit_giant_patch14_dinov2", img_size=56, mlp_ratio=4),
        "SwiGLU",
    ),
    "timm EVA-02": (lambda: named("eva02_tiny_patch14_224", img_size=56), "SwiGLU"),
    "timm DINOv3": (lambda: named("vit_small_patch16_dinov3"), "rotary"),
    "timm mixed rotary": (lambda: named("vit_small_patch16_rope_mixed_224"), "rotary"),
    "timm CaiT": (lambda: named("cait_xxs24_224"), "talking-heads"),
    "timm Swin": (
        lambda: timm.create_model("swin_tiny_patch4_window7_224", depths=(1, 1, 1, 1)),
        "hierarchy of resolutions",
    ),
    "timm SAM": (lambda: named("samvit_base_patch16", window_size=2), "decomposed relative"),
    "timm relative MLP": (lambda: named("vit_relpos_small_patch16_224"), "function of relative"),
    "timm qk-norm": (lambda: plain(qk_norm=True), "qk-norm"),
    "timm sub-LN": (lambda: plain(scale_mlp_norm=True), "sub-LN"),
    "timm parallel": (lambda: plain(block_fn=tvit.ParallelThingsBlock), "parallel attention"),
    "timm parallel scaling": (
        lambda: plain(block_fn=tvit.ParallelScalingBlock, qk_norm=True),
        "parallel|qk-norm",
    ),
    "timm gated": (
        lambda: plain(attn_layer=GatedAttention),
        "gated attention",
    ),
    "Hugging Face SwiGLU": (
        lambda: transformers.Dinov2Model(transformers.Dinov2Config(**HF, use_swiglu_ffn=True)),
        "SwiGLU",
    ),
    "Hugging Face DINOv3": (
        lambda: transformers.DINOv3ViTModel(transformers.DINOv3ViTConfig(**HF)),
        "rotary",
    ),
}


@pytest.mark.parametrize("name", REAL)
def test_a_real_model_of_another_kind_is_refused_by_name(name, tmp_path):
    build, match = REAL[name]
    torch.save(build().state_dict(), tmp_path / "a.pth")
    with pytest.raises(InputError, match=match):
        load_backbone(tmp_path / "a.pth", num_heads=2)


EXTRA = {
    "blocks.0.mlp.experts.0.weight": "mixture of experts",
    "patch_embed.norm.weight": "patch embedding of several layers",
    "temporal_embed": "a video model",
    "blocks.0.adapter.down.weight": r"1 weights without a counterpart .*\(blocks.0.adapter",
}


@pytest.mark.parametrize("key", EXTRA)
def test_one_strange_weight_among_known_ones_stops_the_run(key, tmp_path):
    torch.save(plain().state_dict() | {key: torch.zeros(2)}, tmp_path / "a.pth")
    with pytest.raises(InputError, match=EXTRA[key]):
        load_backbone(tmp_path / "a.pth", num_heads=2)


def test_a_backbone_without_a_place_for_weights_says_what_to_set(tmp_path):
    arch = dict(embed_dims=64, num_layers=1, num_heads=2, feedforward_channels=256)
    for model, match in (
        (plain(init_values=0.1), r"layers.\* \(2\).*layer_scale_init_value=1e-5"),
        (plain(reg_tokens=4), r"register_tokens.*num_registers=\.\.\."),
        (plain(depth=2), r"no place for \(layers.\* \(12\)\).*the arch that"),
        (named("beit_base_patch16_224", global_pool="token"), "rel_pos_bias=True"),
    ):
        torch.save(model.state_dict(), tmp_path / "a.pth")
        backbone = SemAIMViT(arch, img_size=64)
        before = {name: value.clone() for name, value in backbone.state_dict().items()}
        with pytest.raises(InputError, match=match):
            load_backbone_weights(backbone, tmp_path / "a.pth")
        after = backbone.state_dict()
        assert all(torch.equal(after[name], value) for name, value in before.items())


def test_other_patches_are_refused_unless_resampling_is_asked_for(tmp_path):
    arch = dict(embed_dims=64, num_layers=1, num_heads=2, feedforward_channels=256)
    torch.save(plain(img_size=56, patch_size=14).state_dict(), tmp_path / "a.pth")
    backbone = SemAIMViT(arch, img_size=64)
    with pytest.raises(InputError, match=r"patches of 14 pixels, the backbone has 16.*resample"):
        load_backbone_weights(backbone, tmp_path / "a.pth")
    coverage = load_backbone_weights(backbone, tmp_path / "a.pth", resample_patch=True)
    assert "patch embedding resampled from 14 to 16 pixels" in str(coverage)


@pytest.mark.parametrize(
    ("facts", "match"),
    [
        (dict(activation="silu"), r"activation 'silu' \(by the caller\)"),
        (dict(norm_eps=1.0), "no epsilon"),
        (dict(mean=(0.5, 0.5, 0.5)), r"looks like a scale of 0..1; give it times 255"),
        (dict(std=(0, 1, 1)), "not three numbers"),
        (dict(grid=(3, 5)), r"is not 3 x 5 of them; say grid=\(rows, columns\)"),
        (dict(norm_cfg=dict(type="LN")), r"norm_eps=\.\.\. in place of norm_cfg"),
    ],
)
def test_a_fact_that_can_not_be_is_refused(facts, match, tmp_path):
    torch.save(plain().state_dict(), tmp_path / "a.pth")
    with pytest.raises(InputError, match=match):
        load_backbone(tmp_path / "a.pth", **dict(num_heads=2) | facts)


def test_a_rectangular_table_loads_where_its_grid_is_said(tmp_path):
    torch.save(plain(img_size=(48, 80)).state_dict(), tmp_path / "a.pth")
    backbone = load_backbone(tmp_path / "a.pth", num_heads=2, grid=(3, 5))
    assert backbone.img_size == (48, 80)
    # its own grid is enough for a backbone that has it
    arch = dict(embed_dims=64, num_layers=1, num_heads=2, feedforward_channels=256)
    load_backbone_weights(SemAIMViT(arch, img_size=(48, 80)), tmp_path / "a.pth")
