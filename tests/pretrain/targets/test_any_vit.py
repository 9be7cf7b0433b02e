"""ViTs of timm that SemAIMViT could not be: their tokens are timm's own, from timm's weights."""

from __future__ import annotations

import pytest
import timm
import torch
from teachers import SMALL, random_teacher, rescaled, save
from timm.models.vision_transformer import checkpoint_filter_fn
from torch.testing import assert_close

from semaim_mm.errors import InputError
from semaim_mm.interop.backbone_file import read_backbone
from semaim_mm.pretrain.targets import TimmTeacher

SWIGLU = "vit_giant_patch14_dinov2.lvd142m"
BEIT = "beitv2_base_patch16_224.in1k_ft_in22k"
DEIT3 = "deit3_small_patch16_224.fb_in1k"
KINDS = {  # timm's name: (tokens before the patches, patch size)
    SWIGLU: (1, 14),
    "vit_giant_patch14_reg4_dinov2.lvd142m": (5, 14),
    "vit_small_patch16_18x2_224": (1, 16),  # parallel blocks
    "vit_base_patch16_xp_224": (1, 16),  # parallel branches, normalised queries and keys
    "vit_dlittle_patch16_reg1_gap_256.sbb_nadamuon_in1k": (1, 16),  # differential attention
    "aimv2_large_patch14_224.apple_pt": (0, 14),
    "beit_base_patch16_224.in22k_ft_in22k": (1, 16),
    BEIT: (1, 16),
    "vit_relpos_small_patch16_224": (0, 16),
    "vit_srelpos_small_patch16_224": (0, 16),
}
FIXED = [name for name in KINDS if name.startswith("beit") or "relpos" in name]


@pytest.fixture
def imgs() -> torch.Tensor:
    return torch.randn(2, 3, 64, 96, generator=torch.Generator().manual_seed(3))


def small_args(name: str) -> dict:
    """A small model, on the grid of 4 x 6 patches of the images above."""
    side = KINDS[name][1]
    return dict(SMALL, img_size=(4 * side, 6 * side))


def teacher_of(name: str, tmp_path, **options) -> tuple[torch.nn.Module, TimmTeacher]:
    library = random_teacher(name, **small_args(name), num_classes=3)
    path = save(library.state_dict(), tmp_path / "teacher.pth")
    return library, TimmTeacher(name, path, model_args=small_args(name), **options)


@torch.no_grad()
def library_tokens(library, imgs: torch.Tensor, name: str) -> torch.Tensor:
    """Tokens of timm's own pass over ImageNet-normalised images: CLS or the mean, patches."""
    before, side = KINDS[name]
    cfg = library.pretrained_cfg
    seen = rescaled(imgs, cfg["mean"], cfg["std"])
    if side != 16:
        size = (4 * side, 6 * side)
        seen = torch.nn.functional.interpolate(seen, size, mode="bicubic", antialias=True)
    found = library.fc_norm(library.forward_features(seen))
    patches = found[:, before:]
    has_class = getattr(library, "cls_token", None) is not None
    first = found[:, :1] if has_class else patches.mean(dim=1, keepdim=True)
    return torch.cat([first, patches], dim=1)


@pytest.mark.parametrize("name", KINDS)
def test_tokens_are_timms_where_the_weights_are_in_its_names(name, imgs, tmp_path):
    library, target = teacher_of(name, tmp_path)
    expected = library_tokens(library, imgs, name)
    found = target(imgs).tokens
    assert found.shape == (2, 25, 32) and found.std() > 0.05
    assert_close(found, expected, rtol=1e-5, atol=1e-5)
    assert target.out_dims == 32


@pytest.mark.parametrize("name", [n for n in KINDS if not n.startswith(("beit", "vit_relpos"))])
def test_semaimvit_can_not_be_these_models(name, tmp_path):
    """Else the tests above would prove nothing beyond those of plain ViTs."""
    _, target = teacher_of(name, tmp_path)
    with pytest.raises(InputError):
        read_backbone(target.weights, grid=(4, 6))


def test_a_convolutional_stem_is_part_of_the_patch(imgs, tmp_path):
    name = "vit_small_resnet26d_224"
    args = dict(SMALL, img_size=64, patch_size=1)
    library = random_teacher(name, **args, num_classes=0, dynamic_img_size=True)
    for module in library.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.weight.data.fill_(1.0)
    path = save(library.state_dict(), tmp_path / "teacher.pth")
    target = TimmTeacher(name, path, model_args=args, patch_size=32)
    cfg = library.pretrained_cfg
    with torch.no_grad():
        expected = library.forward_features(rescaled(imgs, cfg["mean"], cfg["std"]))
    assert_close(target(imgs).tokens, expected, rtol=1e-5, atol=1e-5)


def test_metas_own_names_of_the_giant_are_read(imgs, tmp_path):
    library, target = teacher_of(SWIGLU, tmp_path)
    state = {k: v for k, v in library.state_dict().items() if not k.startswith("head.")}
    for ours, metas in (("mlp.fc1", "mlp.w12"), ("mlp.fc2", "mlp.w3")):
        state = {key.replace(ours, metas): value for key, value in state.items()}
    assert sum("w12" in key for key in state) == 4
    save(state | dict(mask_token=torch.zeros(1, 32)), target.weights)
    assert_close(target(imgs).tokens, library_tokens(library, imgs, SWIGLU), rtol=1e-5, atol=1e-5)


def test_microsofts_own_file_of_beit_is_resampled_to_the_grid_as_timm_does(imgs, tmp_path):
    square = random_teacher(BEIT, **SMALL, img_size=64, num_classes=3)
    state = dict(square.state_dict())
    index = torch.zeros(17, 17, dtype=torch.long)
    state |= {f"blocks.{n}.attn.relative_position_index": index for n in range(2)}
    path = save(dict(model=state), tmp_path / "beitv2.pth")
    library = timm.create_model(BEIT, **small_args(BEIT), num_classes=3).eval()
    filtered = timm.models.beit.checkpoint_filter_fn(dict(state), library)
    library.load_state_dict(filtered)
    found = TimmTeacher(BEIT, path, model_args=small_args(BEIT))(imgs).tokens
    assert_close(found, library_tokens(library, imgs, BEIT), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", FIXED)
def test_a_model_of_one_size_says_which_or_shows_its_map_resized(name, imgs, tmp_path):
    library = random_teacher(name, **SMALL, img_size=64)
    path = save(library.state_dict(), tmp_path / "teacher.pth")
    args = dict(SMALL, img_size=64)
    with pytest.raises(InputError, match=r"64 x 64 pixels alone.*img_size=\(64, 96\).*fit='tok"):
        TimmTeacher(name, path, model_args=args)(imgs)
    found = TimmTeacher(name, path, model_args=args, fit="tokens", normalize="student")(imgs)
    seen = torch.nn.functional.interpolate(imgs, (64, 64), mode="bicubic", antialias=True)
    before = KINDS[name][0]
    with torch.no_grad():
        maps = library.fc_norm(library.forward_features(seen))[:, before:]
    maps = maps.transpose(1, 2).unflatten(2, (4, 4))
    maps = torch.nn.functional.interpolate(maps, (4, 6), mode="bilinear", antialias=True)
    assert_close(found.values, maps.flatten(2).transpose(1, 2), rtol=1e-5, atol=1e-5)


def test_metas_own_names_of_deit3_are_read(imgs, tmp_path):
    args = dict(SMALL, img_size=64)
    library = random_teacher(DEIT3, **args, dynamic_img_size=True)
    state = {
        key.replace("ls1.gamma", "gamma_1").replace("ls2.gamma", "gamma_2"): value
        for key, value in library.state_dict().items()
    }
    assert "blocks.1.gamma_2" in state
    target = TimmTeacher(DEIT3, save(dict(model=state), tmp_path / "deit3.pth"), model_args=args)
    with torch.no_grad():
        expected = library.forward_features(imgs)
    assert_close(target(imgs).tokens, expected, rtol=1e-5, atol=1e-5)


def test_positions_of_no_square_grid_are_the_models(imgs, tmp_path):
    args = dict(SMALL, img_size=(64, 96))
    name = "vit_base_patch16_224.dino"
    library = random_teacher(name, **args, num_classes=0)
    target = TimmTeacher(name, save(library.state_dict(), tmp_path / "t.pth"), model_args=args)
    with torch.no_grad():
        assert_close(target(imgs).tokens, library.forward_features(imgs), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda s, k: s.pop(k), "missing {key}"),
        (lambda s, k: s.update({f"{k}_too": s[k]}), "without a place {key}_too"),
        (lambda s, k: s.update({k: s[k][:-1]}), r"of another size.*\(1 weights differ\)"),
    ],
    ids=["missing", "left over", "shape"],
)
def test_one_weight_that_does_not_match_is_refused(change, sentence, name, imgs, tmp_path):
    _, target = teacher_of(name, tmp_path)
    state = dict(torch.load(target.weights))
    key = next(key for key in state if key.startswith("blocks.1."))
    change(state, key)
    save(state, target.weights)
    with pytest.raises(InputError, match=sentence.format(key=key)):
        target(imgs)


def test_hugging_faces_names_of_the_giant_are_refused_with_what_works(imgs, tmp_path):
    transformers = pytest.importorskip("transformers")
    config = transformers.Dinov2Config(
        hidden_size=32, num_hidden_layers=2, num_attention_heads=2, image_size=56, patch_size=14,
        use_swiglu_ffn=True,
    )  # fmt: skip
    _, target = teacher_of(SWIGLU, tmp_path)
    save(transformers.Dinov2Model(config).state_dict(), target.weights)
    with pytest.raises(InputError, match=f"Hugging Face's are not.*timm/{SWIGLU}"):
        target(imgs)


def test_a_plain_vits_file_is_none_of_the_giants(imgs, tmp_path):
    plain = random_teacher("vit_small_patch14_dinov2.lvd142m", **SMALL, img_size=56)
    _, target = teacher_of(SWIGLU, tmp_path)
    save(checkpoint_filter_fn(plain.state_dict(), plain), target.weights)
    with pytest.raises(InputError, match="is of another size than vit_giant_patch14_dinov2"):
        target(imgs)
