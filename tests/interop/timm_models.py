"""timm's models, and files with its names: MAE, DINO, iBOT, MoCo v3, DINOv2, BEiT, CLIP."""

from __future__ import annotations

from collections.abc import Callable

import timm
import torch
from library_models import Case, prefixed, randomise, scaled, state_of
from torch import nn


def timm_model(name: str, seed: int = 0, **kwargs) -> nn.Module:
    small = dict(img_size=64, embed_dim=128, depth=2, num_heads=2, num_classes=5)
    return randomise(timm.create_model(name, pretrained=False, **small | kwargs), seed)


def timm_case(model: nn.Module, content: dict, family: str, **rest) -> Case:
    cfg = model.pretrained_cfg
    return Case(content, scaled(cfg["mean"], cfg["std"], model.forward_features), family, **rest)


def mae() -> Case:
    model = timm_model("vit_base_patch16_224.mae", num_classes=0)
    decoder = {
        "mask_token": torch.randn(1, 1, 32),
        "decoder_pos_embed": torch.randn(1, 17, 32),
        "decoder_embed.weight": torch.randn(32, 128),
        "decoder_blocks.0.attn.qkv.weight": torch.randn(96, 32),
        "decoder_norm.weight": torch.randn(32),
    }
    return timm_case(model, dict(model=state_of(model) | decoder, epoch=3), "MAE")


def dino() -> Case:
    model = timm_model("vit_small_patch16_224.dino", num_classes=0)
    student = timm_model("vit_small_patch16_224.dino", seed=1, num_classes=0)
    head = {"head.mlp.0.weight": torch.randn(8, 128), "head.last_layer.weight_g": torch.ones(4, 1)}
    content = dict(
        student=prefixed(state_of(student), "module.backbone.") | prefixed(head, "module."),
        teacher=prefixed(state_of(model), "backbone.") | head,
        optimizer=dict(state={0: dict(exp_avg=torch.zeros(1))}, param_groups=[]),
        epoch=100,
        dino_loss=dict(center=torch.zeros(1, 4)),
    )
    return timm_case(model, content, "DINO")


def ibot() -> Case:
    model = timm_model("vit_small_patch16_224.dino", num_classes=0)
    state = state_of(model) | {"masked_embed": torch.zeros(1, 128)}
    head = {"head.last_layer2.weight_g": torch.ones(4, 1)}
    return timm_case(model, dict(teacher=prefixed(state, "backbone.") | head), "iBOT")


def moco_v3() -> Case:
    model = timm_model("vit_small_patch16_224.dino", embed_dim=384, depth=1, num_heads=12)
    other = timm_model("vit_small_patch16_224.dino", 1, embed_dim=384, depth=1, num_heads=12)
    content = dict(
        state_dict=prefixed(state_of(model), "module.base_encoder.")
        | prefixed(state_of(other), "module.momentum_encoder.")
        | {"module.predictor.0.weight": torch.randn(4, 4)}
    )
    return timm_case(model, content, "MoCo v3")


def timm_plain() -> Case:
    model = timm_model("vit_base_patch16_224", embed_dim=96, num_heads=4)
    half = dict(mean=(127.5,) * 3, std=(127.5,) * 3)  # AugReg's, which the weights don't tell
    return timm_case(model, state_of(model), "timm", told=dict(num_heads=4, **half))


def timm_named(name: str, family: str, **kwargs) -> Callable[[], Case]:
    def build() -> Case:
        size, told = kwargs.get("img_size", 64), {}
        model = timm_model(name, **kwargs)
        if tuple(model.pretrained_cfg["mean"]) == (0.5, 0.5, 0.5) and family == "timm":
            told = dict(mean=(127.5,) * 3, std=(127.5,) * 3)
        return timm_case(model, state_of(model), family, sizes=((size, size),), told=told)

    return build


def dinov2() -> Case:
    model = timm_model("vit_small_patch14_dinov2", img_size=56, num_classes=0)
    state = state_of(model) | {"mask_token": torch.randn(1, 128)}
    # trained in chunks of blocks: blocks.CHUNK.N
    state = {k.replace("blocks.", "blocks.0.", 1): v for k, v in state.items()}
    content = dict(teacher=prefixed(state, "backbone."))
    return timm_case(model, content, "DINOv2", sizes=((56, 56),))


def dinov2_registers() -> Case:
    """Meta's own names: CLS has a position, registers have none; timm's converter is the oracle."""
    model = timm_model("vit_small_patch14_reg4_dinov2", img_size=56, num_classes=0)
    state = state_of(model)
    state["register_tokens"] = state.pop("reg_token")
    state["mask_token"] = torch.randn(1, 128)
    state["pos_embed"] = torch.cat([torch.randn(1, 1, 128), state["pos_embed"]], dim=1)
    converted = timm.models.vision_transformer.checkpoint_filter_fn(dict(state), model)
    model.load_state_dict(converted)
    return timm_case(model, state, "DINOv2", sizes=((56, 56),))


def openai_clip() -> Case:
    """OpenAI's own names, text tower beside; timm's converter is the oracle."""
    model = timm_model("vit_base_patch16_clip_quickgelu_224.openai", num_classes=32)
    names = [
        ("patch_embed.proj", "conv1"), ("pos_embed", "positional_embedding"),
        ("norm_pre", "ln_pre"), ("blocks.", "transformer.resblocks."), ("norm1", "ln_1"),
        ("norm2", "ln_2"), ("attn.qkv.", "attn.in_proj_"), ("attn.proj", "attn.out_proj"),
        ("mlp.fc1", "mlp.c_fc"), ("mlp.fc2", "mlp.c_proj"), ("cls_token", "class_embedding"),
        ("norm.", "ln_post."),
    ]  # fmt: skip
    state = {"visual.proj": torch.randn(128, 32), "logit_scale": torch.ones(())}
    state["transformer.resblocks.0.attn.in_proj_weight"] = torch.randn(12, 4)
    for key, value in state_of(model).items():
        if key.startswith("head."):
            continue
        for ours, theirs in names:
            key = key.replace(ours, theirs)
        if key in ("class_embedding", "positional_embedding"):
            value = value.reshape(-1, 128) if key == "positional_embedding" else value.flatten()
        state[f"visual.{key}"] = value
    converted = timm.models.vision_transformer.checkpoint_filter_fn(dict(state), model)
    model.load_state_dict(converted)
    return timm_case(model, state, "OpenAI CLIP")


def beit(shared: bool = False) -> Callable[[], Case]:
    def build() -> Case:
        model = timm_model(
            "beit_base_patch16_224.in22k_ft_in22k",
            embed_dim=96,
            num_heads=4,
            use_rel_pos_bias=not shared,
            use_shared_rel_pos_bias=shared,
            global_pool="token" if shared else "avg",
        )
        state = state_of(model) | {"mask_token": torch.zeros(1, 1, 96)}
        return timm_case(model, dict(model=state), "BEiT")

    return build


TIMM = {
    "MAE": mae,
    "DINO": dino,
    "iBOT": ibot,
    "MoCo v3": moco_v3,
    "DINOv2": dinov2,
    "DINOv2 with registers": dinov2_registers,
    "OpenAI CLIP": openai_clip,
    "BEiT": beit(),
    "BEiT with a shared table": beit(shared=True),
    "timm": timm_plain,
    "timm, 384": timm_named("vit_small_patch16_224.dino", "timm", img_size=96),
    "timm DeiT III (LayerScale, CLS without position)": timm_named(
        "deit3_small_patch16_224", "timm"
    ),
    "timm DeiT distilled": timm_named("deit_tiny_distilled_patch16_224", "timm"),
    "timm CLIP": timm_named("vit_base_patch16_clip_quickgelu_224.openai", "timm CLIP"),
    "timm SigLIP": timm_named("vit_base_patch16_siglip_224", "timm SigLIP"),
    "timm DINOv2, patches of 14": timm_named("vit_small_patch14_dinov2", "timm", img_size=56),
    "timm DINOv2 with registers": timm_named("vit_small_patch14_reg4_dinov2", "timm", img_size=56),
    "timm registers without CLS": timm_named("vit_medium_patch16_reg4_gap_256", "timm"),
    "timm mean pooling": timm_named("vit_small_patch16_224.dino", "timm", global_pool="avg"),
    "timm without qkv bias": timm_named("vit_small_patch16_224.dino", "timm", qkv_bias=False),
}
