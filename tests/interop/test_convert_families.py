"""Converting backbones of any family: to our names and timm's, there and back to the last bit."""

from __future__ import annotations

import pytest
import timm
import torch
from huggingface_models import HUGGING_FACE
from library_models import prefixed, state_of
from openmmlab_models import OPENMMLAB
from test_families import assert_same_tokens, pixels, save, tokens_of
from timm_models import TIMM, timm_model

from semaim_mm.errors import InputError
from semaim_mm.interop import load_backbone, read_state_dict
from semaim_mm.interop.authors import algorithm_config, to_authors
from semaim_mm.interop.convert import convert_file

CASES = TIMM | HUGGING_FACE | OPENMMLAB
OWN_NAMES = [name for name in TIMM if name.startswith("timm")]
# heads after the backbone are not carried, and named as left out
HEADS = ("head.", "head_dist.", "attn_pool.", "fc_norm.", "mask_token")


def assert_same_bits(ours: dict, theirs: dict) -> None:
    assert set(ours) == set(theirs)
    for key, value in theirs.items():
        assert ours[key].dtype == value.dtype and torch.equal(ours[key], value), key
        assert torch.equal(ours[key].signbit(), value.signbit()), key


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize("name", [*OWN_NAMES, "BEiT", "BEiT with a shared table"])
def test_timm_to_ours_to_timm_changes_no_bit(name, suffix, tmp_path):
    case = CASES[name]()
    state = case.content.get("model", case.content)
    if "timm" in name:
        state["blocks.0.norm1.bias"][0] = -0.0  # a sign that an addition of zero would lose
        state["cls_token" if "cls_token" in state else "pos_embed"][0, 0, 0] = -0.0
    path = save(case.content, tmp_path / "theirs.pth")
    ours, back = tmp_path / f"ours{suffix}", tmp_path / f"back{suffix}"
    lines = convert_file(path, ours).lines()
    assert lines[0] == f"{case.family} -> mmpretrain, the backbone alone"
    convert_file(ours, back, to="timm")
    kept = {k: v for k, v in state.items() if not k.startswith(HEADS) or k.startswith("fc_norm")}
    assert_same_bits(read_state_dict(back), kept)


@pytest.mark.parametrize("name", CASES)
def test_a_converted_file_gives_the_librarys_tokens_with_nothing_said(name, tmp_path):
    """Epsilon, activation, mean and std travel in its meta; timm's own that vary are said again."""
    case = CASES[name]()
    path = save(case.content, tmp_path / "theirs.pth")
    given = load_backbone(path, **case.told).coverage.origin
    converted = tmp_path / "ours.safetensors"
    try:
        convert_file(path, converted, to="mmpretrain")
    except InputError as error:
        assert "just these names" in str(error)  # mmpretrain's own, the backbone alone
        return
    told = case.told if name.startswith("timm") else {}
    backbone = load_backbone(converted, out_type="raw", **told)
    assert_same_tokens(backbone, case)
    assert backbone.coverage.origin.layout == given.layout


@pytest.mark.parametrize("name", ["Hugging Face ViT", "Hugging Face DeiT", "Hugging Face CLIP",
                                  "Hugging Face SigLIP", "Hugging Face DINOv2",
                                  "Hugging Face DINOv2 with registers"])  # fmt: skip
def test_split_qkv_comes_out_fused_and_runs_in_timm(name, tmp_path):
    case = CASES[name]()
    path = save(case.content, tmp_path / "theirs.pth")
    convert_file(path, tmp_path / "timm.safetensors", to="timm")
    state = read_state_dict(tmp_path / "timm.safetensors")
    origin = load_backbone(path).coverage.origin
    registers = state.get("reg_token", torch.zeros(1, 0, 1)).shape[1]
    activation = {"gelu": "gelu", "quick_gelu": "quick_gelu", "gelu_tanh": "gelu_tanh"}
    settings = dict(
        embed_dim=128, depth=2, num_heads=2, num_classes=0, global_pool="",
        img_size=case.sizes[0], patch_size=14 if "DINOv2" in name else 16,
        mlp_ratio=state["blocks.0.mlp.fc1.weight"].shape[0] / 128,
        init_values=0.1 if "blocks.0.ls1.gamma" in state else None,
        class_token="cls_token" in state, pre_norm="norm_pre.weight" in state,
        reg_tokens=registers, no_embed_class=registers > 0,
        norm_layer=lambda dim, **kwargs: torch.nn.LayerNorm(dim, eps=origin.norm_eps),
        act_layer=activation[origin.activation],
    )  # fmt: skip
    distilled = "dist_token" in state
    kind = timm.models.deit.VisionTransformerDistilled if distilled else None
    library = (kind or timm.models.VisionTransformer)(**settings | dict(
        dict(global_pool="token") if distilled else {}
    ))  # fmt: skip
    library.load_state_dict(state, strict=not distilled)
    assert set(library.state_dict()) == set(state)
    raw = pixels(case.sizes[0])
    mean, std = (torch.tensor(values).view(-1, 1, 1) for values in (origin.mean, origin.std))
    with torch.no_grad():
        tokens = library.eval().forward_features((raw - mean) / std)
    assert (tokens - case.tokens(raw)).abs().max() < 1e-5


def test_every_key_is_accounted_for_and_conventions_are_told(tmp_path):
    content = CASES["DINO"]().content
    lines = convert_file(save(content, tmp_path / "a.pth"), tmp_path / "b.pth").lines()
    for container in ("teacher", "student"):
        for key in content[container]:
            flat = f"{container}.{key.removeprefix('module.')} "
            assert sum(line.startswith(flat) for line in lines) == 1, key
    assert "teacher.backbone.norm.weight -> ln1.weight" in lines
    assert "teacher.head.mlp.0.weight left out: not part of the backbone" in lines
    assert lines[-2].startswith("DINO, LayerNorm eps 1e-06 (by its family), gelu")
    beit = save(CASES["BEiT"]().content, tmp_path / "c.pth")
    lines = convert_file(beit, tmp_path / "d.pth").lines()
    assert "model.blocks.1.attn.q_bias -> layers.1.attn.qkv.bias" in lines
    assert "pos_embed added: the file has none, so zeros" in lines


def semaim(**config) -> torch.nn.Module:
    from mmpretrain.registry import MODELS

    tiny = dict(img_size=16, patch_size=8, embed_dim=16, depth=2, num_heads=2, query_depth=2)
    torch.manual_seed(0)
    model = MODELS.build(algorithm_config(tiny | config))
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter)
    return model


@pytest.mark.parametrize("names", ["ours", "authors"])
def test_semaims_backbone_goes_to_timm_and_runs_there(names, tmp_path):
    model = semaim()
    state = model.state_dict() if names == "ours" else to_authors(model)
    torch.save(dict(state_dict=state), tmp_path / "in.pth")
    lines = convert_file(tmp_path / "in.pth", tmp_path / "out.pth", to="timm").lines()
    assert any(line.endswith("left out: not part of the backbone") for line in lines)
    settings = dict(embed_dim=16, depth=2, num_heads=2, num_classes=0)
    library = timm.models.VisionTransformer(img_size=16, patch_size=8, **settings)
    library.load_state_dict(read_state_dict(tmp_path / "out.pth"))
    imgs = torch.randn(2, 3, 16, 16)
    with torch.no_grad():
        tokens = library.eval().forward_features(imgs)
    torch.testing.assert_close(model.encode(imgs), tokens, atol=1e-5, rtol=1e-5)


def test_a_plain_vit_goes_to_the_authors_names_and_another_is_refused_by_name(tmp_path):
    state = state_of(timm_model("vit_small_patch16_224.dino", num_classes=0))
    path = save(prefixed(state, "backbone."), tmp_path / "a.pth")
    convert_file(path, tmp_path / "b.pth", to="authors")
    assert_same_bits(read_state_dict(tmp_path / "b.pth"), state)
    for name, match in (
        ("timm CLIP", "a norm before the blocks; it has LayerNorm eps 1e-05; it has quick_gelu"),
        ("timm DINOv2 with registers", "it has LayerScale; it has register tokens"),
        ("BEiT", "LayerScale; .*relative-position bias"),
        ("timm SigLIP", "it has no cls_token"),
        ("Hugging Face ViT", "it has LayerNorm eps 1e-12"),
    ):
        path = save(CASES[name]().content, tmp_path / "c.pth")
        with pytest.raises(InputError, match=match):
            convert_file(path, tmp_path / "d.pth", to="authors")
        assert not (tmp_path / "d.pth").exists()


def test_nothing_to_change_and_nothing_known_are_sentences(tmp_path):
    path = save(CASES["DINO"]().content["teacher"], tmp_path / "a.pth")
    convert_file(path, tmp_path / "b.pth", to="timm")
    with pytest.raises(InputError, match=r"just these names .* say another --to"):
        convert_file(tmp_path / "b.pth", tmp_path / "c.pth", to="timm")
    convert_file(tmp_path / "b.pth", tmp_path / "c.safetensors", to="timm")
    resnet = save({"conv1.weight": torch.zeros(1)}, tmp_path / "d.pth")
    with pytest.raises(InputError, match="no backbone of a known form"):
        convert_file(resnet, tmp_path / "e.pth", to="timm")


def test_a_finetuned_row_for_cls_goes_into_the_token_where_timm_has_no_row(tmp_path):
    """DeiT III has no position for CLS; after training here its row may have moved."""
    case = CASES["timm DeiT III (LayerScale, CLS without position)"]()
    convert_file(save(case.content, tmp_path / "a.pth"), tmp_path / "b.pth")
    content = torch.load(tmp_path / "b.pth")
    content["state_dict"]["pos_embed"][:, 0] += 1
    torch.save(content, tmp_path / "b.pth")
    convert_file(tmp_path / "b.pth", tmp_path / "c.pth", to="timm")
    moved = read_state_dict(tmp_path / "c.pth")
    assert torch.equal(moved["cls_token"], case.content["cls_token"] + 1)
    backbones = [load_backbone(tmp_path / f"{name}.pth", out_type="raw") for name in "bc"]
    one, other = (tokens_of(backbone, pixels((64, 64))) for backbone in backbones)
    torch.testing.assert_close(one, other, atol=1e-5, rtol=0)
