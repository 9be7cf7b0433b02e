"""Teachers from timm: their tokens are the library's own, and never a random model's."""

from __future__ import annotations

import pytest
import timm
import torch
from safetensors.torch import save_file
from seen_ops import SeenOps
from teachers import SMALL, random_teacher, rescaled, save
from torch.testing import assert_close

from semaim_mm.errors import InputError
from semaim_mm.pretrain.targets import PixelScale, TimmTeacher

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
KINDS = {  # timm's name: (has CLS, tokens before the patches, patch size)
    "vit_base_patch16_224.dino": (True, 1, 16),
    "vit_small_patch14_dinov2.lvd142m": (True, 1, 14),
    "vit_small_patch14_reg4_dinov2.lvd142m": (True, 5, 14),
    "vit_small_patch16_dinov3.lvd1689m": (True, 5, 16),
    "vit_base_patch16_siglip_224.webli": (False, 0, 16),
    "vit_base_patch16_224.augreg_in21k": (True, 1, 16),
    "vit_base_patch16_224.mae": (True, 1, 16),
    "deit_tiny_distilled_patch16_224": (True, 2, 16),
    "vit_medium_patch16_reg4_gap_256.sbb_in12k": (False, 4, 16),
    "deit3_small_patch16_224": (True, 1, 16),
    "eva02_tiny_patch14_224.mim_in22k": (True, 1, 14),
}


@pytest.fixture
def imgs() -> torch.Tensor:
    return torch.randn(2, 3, 64, 96, generator=torch.Generator().manual_seed(3))


def teacher_of(name: str, tmp_path, **options) -> tuple[torch.nn.Module, TimmTeacher]:
    args = dict(SMALL, num_classes=0, dynamic_img_size=True, img_size=4 * KINDS[name][2])
    if "siglip" in name:
        args["global_pool"] = ""
    library = random_teacher(name, **args)
    path = save(library.state_dict(), tmp_path / "teacher.pth")
    small = dict(SMALL, img_size=args["img_size"])
    return library, TimmTeacher(name, path, model_args=small, **options)


def library_tokens(library, imgs: torch.Tensor, name: str) -> torch.Tensor:
    has_class, before, _ = KINDS[name]
    with torch.no_grad():
        tokens = library.fc_norm(library.forward_features(imgs))
    patches = tokens[:, before:]
    first = tokens[:, :1] if has_class else patches.mean(dim=1, keepdim=True)
    return torch.cat([first, patches], dim=1)


@pytest.mark.parametrize("name", KINDS)
def test_tokens_are_those_of_the_librarys_own_forward(name, imgs, tmp_path):
    library, target = teacher_of(name, tmp_path)
    side = KINDS[name][2]
    cfg = library.pretrained_cfg
    seen = rescaled(imgs, cfg["mean"], cfg["std"])
    if side != 16:  # the grid of the student, 4 x 6, in patches of the teacher
        size = (4 * side, 6 * side)
        seen = torch.nn.functional.interpolate(seen, size, mode="bicubic", antialias=True)
    expected = library_tokens(library, seen, name)
    found = target(imgs)
    assert found.tokens.shape == (2, 1 + 24, 32)
    assert_close(found.tokens, expected, rtol=1e-5, atol=1e-5)
    assert torch.equal(found.values, found.tokens[:, 1:])
    assert target.out_dims == 32


def test_the_image_without_a_change_is_seen_where_scales_and_grids_agree(imgs, tmp_path):
    library, target = teacher_of("vit_base_patch16_224.dino", tmp_path)
    with torch.no_grad():
        assert torch.equal(target(imgs).tokens, library.forward_features(imgs))


def test_the_scale_is_the_teachers_or_imagenets_or_any_by_key(imgs, tmp_path):
    name = "vit_base_patch16_224.augreg_in21k"
    half = ((0.5,) * 3, (0.5,) * 3)
    told = dict(mean=(10.0, 20.0, 30.0), std=(40.0, 50.0, 60.0))
    scales = [("teacher", half), ("imagenet", IMAGENET), ("student", IMAGENET)]
    scales += [(told, tuple(tuple(x / 255 for x in told[k]) for k in ("mean", "std")))]
    for normalize, scale in scales:
        library, target = teacher_of(name, tmp_path, normalize=normalize)
        expected = library_tokens(library, rescaled(imgs, *scale), name)
        assert_close(target(imgs).tokens, expected, rtol=1e-5, atol=1e-5)


def test_another_scale_is_copied_to_the_device_once_and_not_in_every_step(imgs):
    ours, theirs = PixelScale((9.0, 8.0, 7.0), (6.0, 5.0, 4.0)), PixelScale((1.0,) * 3, (2.0,) * 3)
    with torch.inference_mode():
        first = ours.convert(imgs, theirs)
    with SeenOps() as ops:
        again = ours.convert(imgs, theirs)
    assert_close(again, first, rtol=0, atol=0)
    assert ops.names == {"mul", "add"}
    columns = (torch.tensor(x).view(3, 1, 1) for x in (*ours[:2], *theirs[:2]))
    mean, std, its_mean, its_std = columns
    assert_close(first, (imgs * std + mean - its_mean) / its_std)
    ours.convert(imgs.clone().requires_grad_(), theirs).sum().backward()


def test_by_key_the_tokens_are_resampled_in_place_of_the_image(tmp_path):
    name = "vit_small_patch14_dinov2.lvd142m"
    library, target = teacher_of(name, tmp_path, fit="tokens")
    imgs = torch.randn(2, 3, 112, 112)
    maps = library_tokens(library, imgs, name)[:, 1:].transpose(1, 2).unflatten(2, (8, 8))
    maps = torch.nn.functional.interpolate(maps, (7, 7), mode="bilinear", antialias=True)
    assert_close(target(imgs).values, maps.flatten(2).transpose(1, 2), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("student", [8, 16, 32])
@pytest.mark.parametrize("fit", ["image", "tokens"])
def test_there_is_one_token_a_patch_of_the_student(student, fit, imgs, tmp_path):
    _, target = teacher_of("vit_base_patch16_224.dino", tmp_path, patch_size=student, fit=fit)
    assert target(imgs).values.shape == (2, 64 * 96 // student**2, 32)


def test_files_nested_prefixed_and_as_safetensors_hold_the_same_teacher(imgs, tmp_path):
    name = "vit_base_patch16_224.dino"
    library, target = teacher_of(name, tmp_path)
    expected, state = target(imgs).tokens, library.state_dict()
    save_file(state, tmp_path / "a.safetensors")
    nested = {f"module.backbone.{key}": value for key, value in state.items()}
    heads = {"module.head.last_layer.weight_g": torch.ones(4, 1)}
    save(dict(teacher=nested | heads, epoch=3), tmp_path / "b.pth")
    for file in ("a.safetensors", "b.pth"):
        again = TimmTeacher(name, tmp_path / file, model_args=dict(SMALL, img_size=64))
        assert torch.equal(again(imgs).tokens, expected), file


def test_metas_own_names_of_dinov2_with_registers_are_read(imgs, tmp_path):
    name = "vit_small_patch14_reg4_dinov2.lvd142m"
    library, _ = teacher_of(name, tmp_path)
    state = dict(library.state_dict())
    state["register_tokens"] = state.pop("reg_token")
    state["mask_token"] = torch.randn(1, 32)
    state["pos_embed"] = torch.cat([torch.randn(1, 1, 32), state["pos_embed"]], dim=1)
    path = save(state, tmp_path / "meta.pth")
    library.load_state_dict(
        timm.models.vision_transformer.checkpoint_filter_fn(dict(state), library)
    )
    target = TimmTeacher(name, path, model_args=dict(SMALL, img_size=56))
    seen = torch.nn.functional.interpolate(imgs, (56, 84), mode="bicubic", antialias=True)
    expected = library_tokens(library, seen, name)
    assert_close(target(imgs).tokens, expected, rtol=1e-5, atol=1e-5)


DINOV3 = "vit_small_patch16_dinov3.lvd1689m"


def test_metas_own_names_of_dinov3_are_read(imgs, tmp_path):
    library, target = teacher_of(DINOV3, tmp_path)
    expected, state = target(imgs).tokens, {}
    for key, value in library.state_dict().items():
        for ours, metas in (("reg_token", "storage_tokens"), ("gamma_", "ls")):
            key = key.replace(ours, metas)
        key = key + ".gamma" if key.endswith((".ls1", ".ls2")) else key
        state[key] = value
    for number in range(2):
        bias = torch.zeros(96)
        state |= {f"blocks.{number}.attn.qkv.{n}": bias for n in ("bias", "bias_mask")}
    state |= {"mask_token": torch.zeros(1, 32), "rope_embed.periods": torch.ones(4)}
    save(state, target.weights)
    again = TimmTeacher(DINOV3, target.weights, model_args=dict(SMALL, img_size=64))
    assert torch.equal(again(imgs).tokens, expected)


def test_hugging_faces_names_of_dinov3_are_refused_with_what_works(imgs, tmp_path):
    transformers = pytest.importorskip("transformers")
    config = transformers.DINOv3ViTConfig(
        hidden_size=32, intermediate_size=128, num_hidden_layers=2, num_attention_heads=2,
        image_size=64, num_register_tokens=4,
    )  # fmt: skip
    _, target = teacher_of(DINOV3, tmp_path)
    save(transformers.DINOv3ViTModel(config).state_dict(), target.weights)
    with pytest.raises(InputError, match=f"as Eva.*Hugging Face's are not.*timm/{DINOV3}"):
        target(imgs)


def test_without_weights_there_is_a_sentence_and_no_teacher():
    with pytest.raises(InputError, match="no weights for vit_base_patch16_224.dino.*random"):
        TimmTeacher("vit_base_patch16_224.dino")


def test_an_absent_file_is_told_before_training_and_at_the_first_image(tmp_path, imgs):
    target = TimmTeacher("vit_base_patch16_224.dino", tmp_path / "absent.pth")
    for use in (target.init_weights, lambda: target(imgs)):
        with pytest.raises(InputError, match="absent.pth.*never downloaded, nor left random"):
            use()


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda s: s.pop("blocks.1.mlp.fc2.bias"), r"missing blocks.1.mlp.fc2.bias"),
        (lambda s: s.update({"blocks.2.norm1.bias": torch.ones(32)}), "blocks.2.norm1.bias"),
        (lambda s: s.update({"norm.bias": torch.ones(31)}), r"norm.bias is \(31,\).*\(32,\)"),
    ],
)
def test_a_file_that_does_not_hold_the_whole_teacher_is_refused(change, sentence, tmp_path, imgs):
    library, target = teacher_of("vit_base_patch16_224.dino", tmp_path)
    state = dict(library.state_dict())
    change(state)
    save(state, target.weights)
    with pytest.raises(InputError, match=sentence):
        target(imgs)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (dict(model="vit_nonsense"), "can't build the teacher 'vit_nonsense'"),
        (dict(model="resnet18"), "resnet18"),
        # they take no images of other sizes, and their patches overlap or change on the way
        (dict(model="mvitv2_tiny"), "mvitv2_tiny is no ViT but a MultiScaleVit, .* name a ViT"),
        (dict(model="xcit_nano_12_p16_224"), "xcit_nano_12_p16_224 is no ViT but a Xcit, which"),
        (dict(model="vit_tiny_patch16_224", model_args=dict(depht=2)), "can't build.*depht"),
        (dict(fit="pixels"), "fit='pixels' is none of image, tokens"),
        (dict(normalize="clip"), "normalize='clip' is none of teacher, imagenet, student"),
    ],
)
def test_what_can_not_be_a_teacher_is_refused(options, sentence):
    with pytest.raises(InputError, match=sentence):
        TimmTeacher(**dict(model="vit_base_patch16_224.dino", weights="w.pth") | options)


def test_images_that_the_students_patches_do_not_tile_are_refused(tmp_path):
    _, target = teacher_of("vit_base_patch16_224.dino", tmp_path)
    with pytest.raises(InputError, match="60 x 64 pixels"):
        target(torch.randn(1, 3, 60, 64))


def test_the_teacher_is_no_part_of_the_module_and_gets_no_gradient(tmp_path, imgs):
    _, target = teacher_of("vit_base_patch16_224.dino", tmp_path)
    imgs.requires_grad_()
    found = target(imgs)
    assert target.state_dict() == {} and not list(target.parameters())
    assert not found.values.requires_grad and not found.values.is_inference()
    weight = torch.ones(32, requires_grad=True)
    (found.values * weight).sum().backward()
    assert weight.grad is not None and imgs.grad is None
    target.train()
    assert not any(module.training for module in target.load().modules())


def test_in_bfloat16_the_tokens_are_near_and_float32(tmp_path, imgs):
    _, exact = teacher_of("vit_base_patch16_224.dino", tmp_path)
    _, near = teacher_of("vit_base_patch16_224.dino", tmp_path, precision="bf16")
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert_close(exact(imgs).tokens, exact(imgs).tokens)
        same = exact(imgs).tokens
    assert torch.equal(same, exact(imgs).tokens), "an outer autocast reached the teacher"
    found = near(imgs).tokens
    assert found.dtype == torch.float32 and not torch.equal(found, same)
    assert_close(found, same, rtol=0.1, atol=0.1)
