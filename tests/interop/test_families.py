"""A backbone of any family gives the features of its own library, from its own file alone."""

from __future__ import annotations

import json

import pytest
import timm
import torch
import transformers
from huggingface_models import HUGGING_FACE
from library_models import Case, prefixed, state_of
from openmmlab_models import OPENMMLAB
from safetensors.torch import save_file
from timm_models import TIMM, timm_model

from semaim_mm.errors import InputError
from semaim_mm.interop import load_backbone, load_backbone_weights
from semaim_mm.vit import SemAIMViT

CASES = TIMM | HUGGING_FACE | OPENMMLAB
FLAT = [name for name in CASES if name.startswith(("timm C", "Hugging", "BEiT", "OpenAI"))]


def save(content: dict, path) -> str:
    """Write what a file holds, as safetensors where the suffix says so; -> its path."""
    if str(path).endswith(".safetensors"):
        tensors = content.get("state_dict", content.get("model", content))
        save_file({key: value.contiguous() for key, value in tensors.items()}, path)
    else:
        torch.save(content, path)
    return str(path)


def pixels(size: tuple[int, int], seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (2, 3, *size), generator=generator).float()


def tokens_of(backbone: SemAIMViT, raw: torch.Tensor) -> torch.Tensor:
    """Raw pixels -> tokens, normalised as the file's origin says and by nothing else."""
    origin = backbone.coverage.origin
    mean, std = (torch.tensor(values).view(-1, 1, 1) for values in (origin.mean, origin.std))
    with torch.no_grad():
        return backbone.eval()((raw - mean) / std)[-1]


def assert_same_tokens(backbone: SemAIMViT, case: Case) -> None:
    for size in case.sizes:
        theirs, ours = case.tokens(pixels(size)), tokens_of(backbone, pixels(size))
        assert ours.shape == theirs.shape
        assert (ours - theirs).abs().max() < 1e-5, size


@pytest.mark.parametrize("name", CASES)
def test_every_token_equals_the_librarys(name, tmp_path):
    case = CASES[name]()
    path = save(case.content, tmp_path / "a.pth")
    backbone = load_backbone(path, out_type="raw", **case.told)
    assert_same_tokens(backbone, case)
    coverage = backbone.coverage
    assert coverage.origin.family == case.family
    assert coverage.matched == len(backbone.state_dict()) and not coverage.new
    assert case.family in str(coverage) and "LayerNorm eps" in str(coverage)


@pytest.mark.parametrize("name", FLAT)
def test_safetensors_give_the_same(name, tmp_path):
    case = CASES[name]()
    path = save(case.content, tmp_path / "a.safetensors")
    assert_same_tokens(load_backbone(path, out_type="raw", **case.told), case)


def test_the_files_name_says_nothing(tmp_path):
    path = save(CASES["Hugging Face CLIP"]().content, tmp_path / "mae_pretrain_vit_base.pth")
    assert load_backbone(path).coverage.origin.family == "Hugging Face CLIP"


def test_another_input_size_is_interpolated_at_loading_as_in_the_forward_pass(tmp_path):
    case = CASES["DINO"]()
    path = save(case.content, tmp_path / "a.pth")
    own = load_backbone(path, out_type="raw")
    large = load_backbone(path, out_type="raw", img_size=(80, 112))
    assert large.pos_embed.shape[1] == 1 + 5 * 7
    raw = pixels((80, 112))
    torch.testing.assert_close(tokens_of(large, raw), tokens_of(own, raw), atol=1e-5, rtol=0)
    assert "positions interpolated from 4 x 4 to 5 x 7 patches" in str(large.coverage)


@pytest.mark.parametrize(
    ("name", "patch"),
    [
        ("vit_small_patch16_224.dino", 16),
        ("vit_small_patch14_reg4_dinov2", 14),
        ("vit_base_patch16_clip_quickgelu_224.openai", 16),
        ("vit_base_patch16_siglip_224", 16),
    ],
)
def test_feature_maps_of_every_block_equal_the_librarys(name, patch, tmp_path):
    """Also at 5 x 7 patches: timm gets the table as our rule interpolates it."""
    state = state_of(timm_model(name, img_size=4 * patch))
    path = save(state, tmp_path / "a.pth")
    taps = dict(out_type="featmap", out_indices=[0, 1], final_norm=False)
    backbone = load_backbone(path, **taps).eval()
    for grid in ((4, 4), (5, 7)):
        size = tuple(side * patch for side in grid)
        library = timm_model(name, img_size=size)
        skipped = backbone.num_extra_tokens if library.no_embed_class else 0
        table = backbone.positions(grid).detach()[:, skipped:]
        library.load_state_dict(state | {"pos_embed": table})
        x = torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(1))
        with torch.no_grad():
            theirs = library.forward_intermediates(x, intermediates_only=True)
            for one, other in zip(backbone(x), theirs, strict=True):
                torch.testing.assert_close(one, other, atol=1e-5, rtol=0)


def test_a_norm_after_pooling_is_taken_where_the_backbone_pools(tmp_path):
    model = timm_model("vit_small_patch16_224.dino", global_pool="avg")
    path = save(state_of(model), tmp_path / "a.pth")
    x = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        theirs = model.forward_head(model.forward_features(x), pre_logits=True)
        ours = load_backbone(path).eval()(x)[-1]  # it pools by default, as the file does
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=0)
    raw = load_backbone(path, out_type="raw")
    assert raw.coverage.unused == ("ln2.bias", "ln2.weight") and "ln2.bias" in str(raw.coverage)


def test_where_there_are_several_backbones_one_can_be_named(tmp_path):
    content = CASES["DINO"]().content
    path = save(content, tmp_path / "a.pth")
    student = load_backbone(path, prefix="student.backbone")
    expected = content["student"]["module.backbone.cls_token"]
    assert torch.equal(student.cls_token, expected)
    assert not torch.equal(load_backbone(path).cls_token, expected)
    with pytest.raises(InputError, match=r"no backbone under 'ema.'; it has some under 'student.b"):
        load_backbone(path, prefix="ema")
    vit = state_of(timm_model("vit_small_patch16_224.dino"))
    path = save(prefixed(vit, "left.") | prefixed(vit, "right."), tmp_path / "two.pth")
    with pytest.raises(InputError, match=r"several backbones, under 'left.', 'right.'; say which"):
        load_backbone(path)


def test_what_has_no_counterpart_is_named(tmp_path):
    backbone = load_backbone(save(CASES["MAE"]().content, tmp_path / "a.pth"))
    assert set(backbone.coverage.origin.left_out) >= {"mask_token", "decoder_pos_embed"}
    assert "left out: mask_token, decoder_pos_embed" in str(backbone.coverage)
    content = dict(state_dict=CASES["mmpretrain"]().content["state_dict"])
    backbone_of_run = load_backbone(save(content, tmp_path / "b.pth"))
    assert backbone_of_run.coverage.origin.left_out == ("head.fc.weight",)
    record = backbone.coverage.record()
    assert record["origin"]["family"] == "MAE" and json.dumps(record)


def test_init_cfg_reads_every_family_and_reloads(tmp_path):
    case = CASES["timm CLIP"]()
    path = save(case.content, tmp_path / "a.pth")
    given = load_backbone(path)
    with torch.no_grad():
        given.cls_token.zero_()
    given.init_weights()
    assert torch.equal(given.cls_token, case.content["cls_token"])
    config = dict(
        arch=dict(embed_dims=128, num_layers=2, num_heads=2, feedforward_channels=512),
        img_size=64,
        out_type="raw",
        pre_norm=True,
        norm_cfg=dict(type="LN", eps=1e-5),
        layer_cfgs=dict(act_cfg=dict(type="mmpretrain.QuickGELU")),
    )
    backbone = SemAIMViT(**config, init_cfg=dict(type="BackboneCheckpoint", checkpoint=path))
    backbone.init_weights()
    assert_same_tokens(backbone, case)
    for change, match in (
        (dict(norm_cfg=dict(type="LN", eps=1e-6)), r"norm_eps=1e-05 by its family, the backbone"),
        (dict(layer_cfgs={}), r"activation=quick_gelu by its family, the backbone gelu"),
        (
            dict(pre_norm=False, patch_cfg=dict(bias=False)),
            r"no place for \(pre_norm.\* \(2\)\).*pre_norm=True",
        ),
    ):
        with pytest.raises(InputError, match=match):
            load_backbone_weights(SemAIMViT(**config | change), path)
    told = SemAIMViT(**config | dict(norm_cfg=dict(type="LN", eps=1e-6)))
    load_backbone_weights(told, path, norm_eps=1e-6)  # the caller knows better


def test_a_width_that_does_not_tell_the_heads_asks_for_them(tmp_path):
    state = state_of(timm_model("vit_small_patch16_224.dino", embed_dim=96, num_heads=4))
    path = save(state, tmp_path / "a.pth")
    with pytest.raises(InputError, match=r"a width of 96 does not tell it .* say num_heads="):
        load_backbone(path)
    assert load_backbone(path, num_heads=4).layers[0].attn.num_heads == 4


@pytest.mark.parametrize("size", [8, 16, 20])
def test_patches_are_resampled_as_flexivit_does(size, tmp_path):
    case = CASES["DINOv2"]()
    path = save(case.content, tmp_path / "a.pth")
    own, other = load_backbone(path), load_backbone(path, patch_size=size)
    weight = own.patch_embed.projection.weight.detach()
    expected = timm.layers.resample_patch_embed(weight, [size, size])
    resampled = other.patch_embed.projection.weight
    torch.testing.assert_close(resampled, expected, atol=1e-4 if size < 14 else 1e-5, rtol=1e-4)
    assert torch.equal(own.pos_embed, other.pos_embed)  # the grid stays
    assert other.img_size == (4 * size, 4 * size)
    if size > 14:  # a patch resized gives what the patch gave
        patch = torch.rand(1, 3, 14, 14)
        large = torch.nn.functional.interpolate(patch, (size, size), mode="bicubic", antialias=True)
        embedded = torch.einsum("oihw,bihw->bo", resampled, large)
        exact = torch.einsum("oihw,bihw->bo", weight, patch)
        torch.testing.assert_close(embedded, exact, atol=1e-4, rtol=0)


def test_a_last_patch_that_sticks_out_is_padded_with_the_mean_colour(tmp_path):
    backbone = load_backbone(save(CASES["DINOv2"]().content, tmp_path / "a.pth"), out_type="raw")
    x = torch.randn(1, 3, 64, 64)
    padded = torch.nn.functional.pad(x, (0, 6, 0, 6))
    with torch.no_grad():
        assert torch.equal(backbone.eval()(x)[0], backbone(padded)[0])


def test_a_hub_folder_tells_what_weights_do_not(tmp_path):
    config = transformers.ViTConfig(
        hidden_size=96, num_hidden_layers=2, num_attention_heads=4, intermediate_size=128,
        image_size=64, patch_size=16, layer_norm_eps=1e-3, hidden_act="gelu_pytorch_tanh",
    )  # fmt: skip
    model = transformers.ViTModel(config)
    model.save_pretrained(tmp_path)
    transformers.ViTImageProcessor(image_mean=[0.1, 0.2, 0.3]).save_pretrained(tmp_path)
    backbone = load_backbone(tmp_path / "model.safetensors", out_type="raw")
    origin = backbone.coverage.origin
    assert (origin.norm_eps, origin.activation, origin.num_heads) == (1e-3, "gelu_tanh", 4)
    assert origin.mean == pytest.approx((25.5, 51, 76.5)) and origin.std == (127.5,) * 3
    assert origin.told_by["norm_eps"] == "config.json"
    x = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        theirs = model.eval()(x).last_hidden_state
        torch.testing.assert_close(backbone.eval()(x)[-1], theirs, atol=1e-5, rtol=0)
    (tmp_path / "config.json").write_text(json.dumps(config.to_dict() | {"hidden_size": 64}))
    with pytest.raises(InputError, match="say num_heads"):  # another file's config
        load_backbone(tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(InputError, match=r"config.json beside the weights is not readable JSON"):
        load_backbone(tmp_path / "model.safetensors")


def test_timms_hub_folder_names_a_model_of_its_registry(tmp_path):
    args = dict(embed_dim=96, depth=2, num_heads=4, img_size=64, num_classes=0)
    name = "vit_base_patch16_clip_224"  # open_clip's own training: GELU, not QuickGELU
    state = state_of(timm_model(name, **args))
    path = save(state, tmp_path / "model.safetensors")
    config = dict(architecture=name, model_args=args, pretrained_cfg=dict(mean=[0.5] * 3))
    (tmp_path / "config.json").write_text(json.dumps(config))
    origin = load_backbone(path).coverage.origin
    assert (origin.norm_eps, origin.activation, origin.num_heads) == (1e-5, "gelu", 4)
    assert origin.mean == (127.5,) * 3
    rotary = dict(architecture="vit_small_patch16_rope_ape_224")  # no key would show it
    (tmp_path / "config.json").write_text(json.dumps(rotary))
    with pytest.raises(InputError, match=r"rope_ape_224, which is no plain ViT \(Eva\)"):
        load_backbone(path)


def test_a_config_text_in_the_file_tells_too_and_is_never_run(tmp_path):
    text = (
        f"import os\nos.mkdir({str(tmp_path / 'canary')!r})\n"
        "model = dict(backbone=dict(norm_cfg=dict(type='LN', eps=1e-4), arch=dict(num_heads=4), "
        "layer_cfgs=dict(act_cfg=dict(type='QuickGELU'))))\n"
        "data_preprocessor = dict(mean=[1.0, 2.0, 3.0], std=[4.0, 5.0, 6.0])\n"
    )
    content = CASES["mmpretrain"]().content | dict(meta=dict(cfg=text))
    origin = load_backbone(save(content, tmp_path / "a.pth")).coverage.origin
    assert (origin.norm_eps, origin.activation, origin.num_heads) == (1e-4, "quick_gelu", 4)
    assert (origin.mean, origin.std) == ((1, 2, 3), (4, 5, 6))
    assert not (tmp_path / "canary").exists()
