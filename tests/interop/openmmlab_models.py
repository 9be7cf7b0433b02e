"""Backbones of mmpretrain and mmseg, with the conventions of their configs."""

from __future__ import annotations

from collections.abc import Callable

import torch
import transformers
from library_models import IMAGENET, OTHER, Case, prefixed, randomise, scaled, state_of
from mmpretrain.models import BEiTViT, VisionTransformer
from mmpretrain.models.backbones import DistilledVisionTransformer
from mmseg.models.backbones import VisionTransformer as SegVisionTransformer
from torch import Tensor

_ARCH = dict(embed_dims=128, num_layers=2, num_heads=2, feedforward_channels=256)


def mm_case(model, family, prefix="backbone.", mean=IMAGENET, sizes=OTHER, call=None) -> Case:
    randomise(model)
    content = dict(
        meta=dict(epoch=3),
        state_dict=prefixed(state_of(model), prefix) | {"head.fc.weight": torch.randn(3, 128)}
        if prefix
        else state_of(model),
    )
    tokens = scaled(*mean, call or (lambda x: model(x)[-1]))
    return Case(content, tokens, family, sizes)


def mm_vit(prefix: str = "backbone.", **kwargs) -> Callable[[], Case]:
    def build() -> Case:
        model = VisionTransformer(_ARCH, img_size=64, out_type="raw", **kwargs)
        return mm_case(model, "mmpretrain", prefix)

    return build


def mm_clip() -> Case:
    model = VisionTransformer(
        _ARCH,
        img_size=64,
        out_type="raw",
        pre_norm=True,
        norm_cfg=dict(type="LN", eps=1e-5),
        layer_cfgs=dict(act_cfg=dict(type="mmpretrain.QuickGELU")),
    )
    processor = transformers.CLIPImageProcessor()
    return mm_case(model, "mmpretrain CLIP", mean=(processor.image_mean, processor.image_std))


def mm_distilled() -> Case:
    model = DistilledVisionTransformer(arch=_ARCH, img_size=64, out_type="raw")
    return mm_case(model, "mmpretrain")


def mm_beit(shared: bool = False) -> Callable[[], Case]:
    def build() -> Case:
        model = BEiTViT(
            _ARCH,
            img_size=64,
            out_type="raw",
            use_abs_pos_emb=shared,
            use_rel_pos_bias=not shared,
            use_shared_rel_pos_bias=shared,
        )
        half = ((0.5,) * 3, (0.5,) * 3)
        return mm_case(model, "mmpretrain BEiT", mean=half, sizes=((64, 64),))

    return build


def mm_seg() -> Case:
    """mmseg's ViT, whose attention is torch's, as the oldest mmcls' was."""
    model = SegVisionTransformer(
        img_size=64,
        embed_dims=128,
        num_layers=2,
        num_heads=2,
        mlp_ratio=2,
        qkv_bias=True,
        final_norm=True,
        norm_cfg=dict(type="LN", eps=1e-6),
        output_cls_token=True,
    )

    def call(x: Tensor) -> Tensor:
        patches, cls = model(x)[-1]
        return torch.cat([cls[:, None], patches.flatten(2).transpose(1, 2)], dim=1)

    return mm_case(model, "mmpretrain", sizes=((64, 64),), call=call)


OPENMMLAB = {
    "mmpretrain": mm_vit(),
    "mmpretrain, the backbone alone": mm_vit(prefix=""),
    "mmpretrain with LayerScale": mm_vit(layer_scale_init_value=0.1),
    "mmpretrain without final norm": mm_vit(final_norm=False),
    "mmpretrain CLIP": mm_clip,
    "mmpretrain DeiT distilled": mm_distilled,
    "mmpretrain BEiT": mm_beit(),
    "mmpretrain BEiT with a shared table": mm_beit(shared=True),
    "mmseg": mm_seg,
}
