"""CLIP towers from every kind of file that they are published in: tokens are the library's own."""

from __future__ import annotations

from collections import OrderedDict

import pytest
import timm
import torch
from safetensors.torch import save_file
from teachers import CLIP, SMALL, random_teacher, rescaled
from timm.models.vision_transformer import checkpoint_filter_fn
from torch import nn
from torch.testing import assert_close

from semaim_mm.errors import InputError
from semaim_mm.pretrain.targets import CLIPTeacher

WIDTH, OUT, GRID, HEADS, BLOCKS = 32, 24, 4, 2, 2
ARGS = dict(SMALL, img_size=16 * GRID, num_classes=OUT)
SCALE = ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))


class QuickGELU(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * torch.sigmoid(1.702 * x)


class Block(nn.Module):
    """A residual block by torch's own attention, under the names of OpenAI's code."""

    def __init__(self, width: int, act: nn.Module):
        super().__init__()
        self.attn = nn.MultiheadAttention(width, HEADS)
        self.ln_1, self.ln_2 = nn.LayerNorm(width), nn.LayerNorm(width)
        parts = [("c_fc", nn.Linear(width, 4 * width)), ("gelu", act)]
        self.mlp = nn.Sequential(OrderedDict([*parts, ("c_proj", nn.Linear(4 * width, width))]))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        seen = self.ln_1(x)
        x = x + self.attn(seen, seen, seen, need_weights=False)[0]
        return x + self.mlp(self.ln_2(x))


class Blocks(nn.Module):
    def __init__(self, width: int, act: nn.Module):
        super().__init__()
        self.resblocks = nn.Sequential(*(Block(width, act) for _ in range(BLOCKS)))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.resblocks(x)


class Visual(nn.Module):
    """The image tower; -> (B, 1 + L, OUT), every token normed and projected."""

    def __init__(self, act: nn.Module):
        super().__init__()
        self.conv1 = nn.Conv2d(3, WIDTH, 16, 16, bias=False)
        self.class_embedding = nn.Parameter(torch.zeros(WIDTH))
        self.positional_embedding = nn.Parameter(torch.zeros(GRID * GRID + 1, WIDTH))
        self.ln_pre, self.ln_post = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.transformer = Blocks(WIDTH, act)
        self.proj = nn.Parameter(torch.zeros(WIDTH, OUT))

    def forward(self, imgs: torch.Tensor) -> torch.Tensor:
        x = self.conv1(imgs).flatten(2).transpose(1, 2)
        cls = self.class_embedding.expand(x.shape[0], 1, -1)
        x = self.ln_pre(torch.cat([cls, x], dim=1) + self.positional_embedding)
        x = self.transformer(x.transpose(0, 1)).transpose(0, 1)
        return self.ln_post(x) @ self.proj


class Whole(nn.Module):
    """Both towers' weights, as a published file holds them; text weights as wide as a trap."""

    def __init__(self, act: nn.Module | None = None):
        super().__init__()
        self.visual = Visual(act or QuickGELU())
        self.transformer = Blocks(16, nn.GELU())
        self.token_embedding = nn.Embedding(9, 16)
        self.positional_embedding = nn.Parameter(torch.zeros(7, 16))
        self.text_projection = nn.Parameter(torch.zeros(16, OUT))
        self.ln_final = nn.LayerNorm(16)
        self.logit_scale = nn.Parameter(torch.zeros(()))
        self.register_buffer("input_resolution", torch.tensor(16 * GRID))

    def forward(self, imgs: torch.Tensor) -> torch.Tensor:
        return self.visual(imgs)


def whole(act: nn.Module | None = None) -> Whole:
    model, random = Whole(act).eval(), torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=random) * 0.2)
    return model


@pytest.fixture
def imgs() -> torch.Tensor:
    return torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(3))


def tokens_of(path, imgs, model=CLIP):
    target = CLIPTeacher(model, weights=path, model_args=ARGS)
    return target(imgs).tokens


def assert_tokens(found, expected):
    assert found.shape == (2, 1 + GRID * GRID, OUT) and found.std() > 0.05
    assert_close(found, expected, rtol=1e-5, atol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("half", [False, True], ids=["fp32", "fp16 as published"])
def test_tokens_of_openais_archive_are_those_that_the_archive_itself_gives(half, imgs, tmp_path):
    path, model = tmp_path / "ViT-B-16.pt", whole()
    if half:
        for parameter in model.visual.parameters():
            parameter.copy_(parameter.half())  # rounded: both read the same numbers
        torch.jit.save(torch.jit.script(whole().half()), str(path))
    else:
        torch.jit.save(torch.jit.script(model), str(path))
    run = torch.jit.load(str(path)).float()
    expected = run(rescaled(imgs, *SCALE))
    assert_close(expected, model(rescaled(imgs, *SCALE)), rtol=1e-5, atol=1e-5)
    assert_tokens(tokens_of(path, imgs), expected)


def as_bin(state, folder):
    torch.save(state, folder / "open_clip_pytorch_model.bin")
    return folder / "open_clip_pytorch_model.bin"


def as_training(state, folder):
    """A checkpoint of open_clip's training: of a distributed model, optimiser beside."""
    state = {f"module.{key}": value for key, value in state.items()}
    optimizer = dict(state={0: dict(exp_avg=torch.zeros(3))}, param_groups=[dict(lr=1e-3)])
    content = dict(epoch=32, name="run", state_dict=state, optimizer=optimizer)
    torch.save(content, folder / "epoch_32.pt")
    return folder / "epoch_32.pt"


def as_custom_text(state, folder):
    """With the text tower in a module of its own, as newer open_clip models have it."""
    visual = {key: value for key, value in state.items() if key.startswith("visual.")}
    text = {f"text.{key}": value for key, value in state.items() if key not in visual}
    return as_bin(visual | text, folder)


def as_safetensors(state, folder):
    save_file(state, folder / "open_clip_model.safetensors")
    return folder / "open_clip_model.safetensors"


@torch.no_grad()
@pytest.mark.parametrize("write", [as_bin, as_training, as_custom_text, as_safetensors])
@pytest.mark.parametrize(
    ("act", "name"),
    [(None, CLIP), (nn.GELU(), "vit_base_patch16_clip_224.laion2b")],
    ids=["QuickGELU", "GELU"],
)
def test_tokens_of_open_clips_files_are_its_own_and_timms(write, act, name, imgs, tmp_path):
    model = whole(act)
    state = {key: value.clone() for key, value in model.state_dict().items()}
    seen = rescaled(imgs, *SCALE)
    expected = model(seen)
    assert_tokens(tokens_of(write(state, tmp_path), imgs, name), expected)
    tower = timm.create_model(name, **ARGS).eval()
    tower.load_state_dict(checkpoint_filter_fn(state, tower))
    assert_close(tower.head(tower.forward_features(seen)), expected, rtol=1e-5, atol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("write", [as_bin, as_training, as_safetensors])
def test_tokens_of_open_clip_around_a_tower_of_timm_are_timms(write, imgs, tmp_path):
    tower = random_teacher(CLIP, **ARGS)
    nn.init.zeros_(tower.head.bias)
    state = {f"visual.trunk.{k}": v for k, v in tower.state_dict().items() if "head." not in k}
    state["visual.head.proj.weight"] = tower.head.weight
    state["text.ln_final.weight"], state["logit_scale"] = torch.ones(16), torch.ones(())
    state = {key: value.detach().clone() for key, value in state.items()}
    expected = tower.head(tower.forward_features(rescaled(imgs, *SCALE)))
    assert_tokens(tokens_of(write(state, tmp_path), imgs), expected)


@torch.no_grad()
def test_tokens_of_timms_safetensors_are_timms(imgs, tmp_path):
    tower = random_teacher(CLIP, **ARGS)
    save_file(tower.state_dict(), tmp_path / "model.safetensors")
    expected = tower.head(tower.forward_features(rescaled(imgs, *SCALE)))
    assert_tokens(tokens_of(tmp_path / "model.safetensors", imgs), expected)


@torch.no_grad()
def test_tokens_of_hugging_faces_whole_model_in_safetensors_are_its_own(imgs, tmp_path):
    transformers = pytest.importorskip("transformers")
    small = dict(num_hidden_layers=2, num_attention_heads=2, hidden_act="quick_gelu")
    config = transformers.CLIPConfig(
        vision_config=dict(
            small, hidden_size=WIDTH, intermediate_size=4 * WIDTH, image_size=64, patch_size=16
        ),
        text_config=dict(small, hidden_size=16, intermediate_size=32, vocab_size=9),
        projection_dim=OUT,
    )
    model, random = transformers.CLIPModel(config).eval(), torch.Generator().manual_seed(1)
    for parameter in model.parameters():
        parameter.copy_(torch.randn(parameter.shape, generator=random) * 0.2)
    model.save_pretrained(tmp_path)
    hidden = model.vision_model(rescaled(imgs, *SCALE)).last_hidden_state
    expected = model.visual_projection(model.vision_model.post_layernorm(hidden))
    assert_tokens(tokens_of(tmp_path / "model.safetensors", imgs), expected)


GELU_NAME = "vit_base_patch16_clip_224"
QUICK_NAMED = rf"trained with quick_gelu.*{GELU_NAME}.* computes gelu.*Name {CLIP}"


def weights(path, **more):
    """A tower's weights in OpenAI's names, as either OpenAI or open_clip may have written them."""
    state = {k: v for k, v in whole().state_dict().items() if k != "input_resolution"}
    torch.save(state | more, path)
    return path


@pytest.mark.parametrize("name", [f"{GELU_NAME}.openai", GELU_NAME])
def test_openais_weights_in_a_tower_of_another_activation_are_refused(name, imgs, tmp_path):
    path = weights(tmp_path / "w.pth")
    with pytest.raises(InputError, match=QUICK_NAMED):
        tokens_of(path, imgs, name)
    tokens_of(path, imgs, f"{GELU_NAME}.laion2b")  # these keys are open_clip's too


def test_openais_archive_is_refused_in_a_tower_of_another_training(imgs, tmp_path):
    marks = ("input_resolution", "context_length", "vocab_size")
    path = weights(tmp_path / "w.pth", **{key: torch.tensor(64) for key in marks})
    with pytest.raises(InputError, match=f"OpenAI's archive.*Name {CLIP}"):
        tokens_of(path, imgs, f"{GELU_NAME}.laion2b")
    tokens_of(path, imgs, CLIP)


def test_a_config_beside_the_weights_says_which_activation_is_theirs(imgs, tmp_path):
    transformers = pytest.importorskip("transformers")
    config = transformers.CLIPVisionConfig(
        hidden_size=WIDTH, intermediate_size=4 * WIDTH, num_hidden_layers=2, num_attention_heads=2,
        image_size=64, patch_size=16, projection_dim=OUT, hidden_act="gelu",
    )  # fmt: skip
    model = transformers.CLIPVisionModelWithProjection(config)
    torch.save(model.state_dict(), tmp_path / "hf.pth")
    config.save_pretrained(tmp_path)
    with pytest.raises(InputError, match=rf"trained with gelu .*Name {GELU_NAME} with the tag"):
        tokens_of(tmp_path / "hf.pth", imgs)
    tokens_of(tmp_path / "hf.pth", imgs, f"{GELU_NAME}.laion2b")
