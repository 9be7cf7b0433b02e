"""CLIP: the projection of every token, from files of any origin; the authors' conventions."""

from __future__ import annotations

import pytest
import torch
from teachers import CLIP, SMALL, openai_names, random_teacher, rescaled, save
from torch import nn
from torch.testing import assert_close

from semaim_mm.errors import InputError
from semaim_mm.pretrain.targets import CLIPTeacher

ARGS = dict(SMALL, img_size=64, num_classes=24)
SCALE = ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))


@pytest.fixture
def imgs() -> torch.Tensor:
    return torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(3))


@pytest.fixture
def tower() -> nn.Module:
    model = random_teacher(CLIP, **ARGS)
    nn.init.zeros_(model.head.bias)  # OpenAI's projection has none
    return model


def teacher(path, **options) -> CLIPTeacher:
    return CLIPTeacher(weights=path, model_args=ARGS, **options)


def tokens_by_hand(tower: nn.Module, imgs: torch.Tensor) -> torch.Tensor:
    """Embed, norm, blocks with x * sigmoid(1.702 x), final norm on all tokens, projection."""
    with torch.no_grad():
        x = tower.norm_pre(tower._pos_embed(tower.patch_embed(imgs)))
        for block in tower.blocks:
            x = x + block.attn(block.norm1(x))
            hidden = block.mlp.fc1(block.norm2(x))
            x = x + block.mlp.fc2(hidden * torch.sigmoid(1.702 * hidden))
        return tower.norm(x) @ tower.head.weight.T


def test_every_token_is_normed_and_projected(tower, imgs, tmp_path):
    target = teacher(save(tower.state_dict(), tmp_path / "clip.pth"))
    seen = rescaled(imgs, *SCALE)
    found = target(imgs)
    assert_close(found.tokens, tokens_by_hand(tower, seen), rtol=1e-5, atol=1e-5)
    with torch.no_grad():
        assert_close(found.tokens[:, 0], tower(seen), rtol=1e-5, atol=1e-5)
    assert found.values.shape == (2, 16, 24) and target.out_dims == 24


def test_by_key_the_tower_sees_imagenets_scale_as_the_authors_feed_it(tower, imgs, tmp_path):
    target = teacher(save(tower.state_dict(), tmp_path / "clip.pth"), normalize="imagenet")
    assert_close(target(imgs).tokens, tokens_by_hand(tower, imgs), rtol=1e-5, atol=1e-5)


class Archive(nn.Module):
    """Holds weights under dotted names, as a module that TorchScript can save."""

    def __init__(self, state: dict[str, torch.Tensor]):
        super().__init__()
        for name, value in state.items():
            self._place(name, value)

    def _place(self, name: str, value: torch.Tensor) -> None:
        module, *_ = self, None
        *path, last = name.split(".")
        for part in path:
            if part not in module._modules:
                module.add_module(part, Inner())
            module = module._modules[part]
        module.register_parameter(last, nn.Parameter(value.clone()))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x


class Inner(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x


def test_openais_archive_and_its_state_dict_give_the_same_teacher(tower, imgs, tmp_path):
    expected = teacher(save(tower.state_dict(), tmp_path / "timm.pth"))(imgs).tokens
    state = openai_names(tower.state_dict())
    assert_close(teacher(save(state, tmp_path / "a.pth"))(imgs).tokens, expected)
    nested = {f"module.{key}": value for key, value in state.items()}
    path = save(dict(state_dict=nested, epoch=3), tmp_path / "open_clip.pth")
    assert_close(teacher(path)(imgs).tokens, expected)
    archive = torch.jit.script(Archive(state))
    torch.jit.save(archive, str(tmp_path / "ViT.pt"))
    assert_close(teacher(tmp_path / "ViT.pt")(imgs).tokens, expected)


def test_half_precision_weights_are_widened(tower, imgs, tmp_path):
    half = {k: v.half() for k, v in openai_names(tower.state_dict()).items()}
    found = teacher(save(half, tmp_path / "half.pth")).load()
    assert {p.dtype for p in found.parameters()} == {torch.float32}


def test_hugging_faces_tower_with_its_projection_is_the_same(imgs, tmp_path):
    transformers = pytest.importorskip("transformers")
    config = transformers.CLIPVisionConfig(
        hidden_size=32, intermediate_size=128, num_hidden_layers=2, num_attention_heads=2,
        image_size=64, patch_size=16, projection_dim=24, hidden_act="quick_gelu",
    )  # fmt: skip
    model = transformers.CLIPVisionModelWithProjection(config).eval()
    random = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=random) * 0.2)
        hidden = model.vision_model(rescaled(imgs, *SCALE)).last_hidden_state
        expected = model.visual_projection(model.vision_model.post_layernorm(hidden))
    path = save(model.state_dict(), tmp_path / "hf.pth")
    config.save_pretrained(tmp_path)
    found = teacher(path)(imgs).tokens
    assert_close(found, expected, rtol=1e-5, atol=1e-5)


LARGE = "vit_large_patch14_clip_quickgelu_224.openai"


@pytest.mark.parametrize(("name", "width"), [(CLIP, 512), (LARGE, 768)])
def test_the_towers_of_the_paper_and_larger_have_their_own_width(name, width):
    assert CLIPTeacher(name, weights="absent.pt").out_dims == width


@pytest.mark.parametrize("student", [14, 16])
@pytest.mark.parametrize("names", ["timm's", "OpenAI's"])
def test_tokens_of_patch_14_and_projection_768_are_timms(student, names, tmp_path):
    """A tower as ViT-L/14 but for its width and depth; students of its own patches and of 16."""
    args = dict(SMALL, img_size=56, num_classes=768)
    tower = random_teacher(LARGE, **args, dynamic_img_size=True)
    nn.init.zeros_(tower.head.bias)
    state = tower.state_dict()
    path = save(state if names == "timm's" else openai_names(state), tmp_path / "large.pth")
    target = CLIPTeacher(LARGE, weights=path, model_args=args, patch_size=student)
    random = torch.Generator().manual_seed(3)
    imgs = torch.randn(2, 3, 4 * student, 6 * student, generator=random)
    seen = rescaled(imgs, *SCALE)
    if student != 14:
        seen = nn.functional.interpolate(seen, (56, 84), mode="bicubic", antialias=True)
    with torch.no_grad():
        expected, pooled = tower.head(tower.forward_features(seen)), tower(seen)
    found = target(imgs)
    assert found.tokens.shape == (2, 25, 768) and target.out_dims == 768
    assert_close(found.tokens, expected, rtol=1e-5, atol=1e-5)
    assert_close(found.tokens[:, 0], pooled, rtol=1e-5, atol=1e-5)


def test_a_file_without_a_projection_and_a_model_without_one_are_refused(tower, imgs, tmp_path):
    state = {k: v for k, v in tower.state_dict().items() if not k.startswith("head.")}
    with pytest.raises(InputError, match="no projection into the space shared with text"):
        teacher(save(state, tmp_path / "bare.pth"))(imgs)
    with pytest.raises(InputError, match="has no projection, so it is no CLIP tower"):
        CLIPTeacher("vit_base_patch16_224.dino", weights="w.pth")
