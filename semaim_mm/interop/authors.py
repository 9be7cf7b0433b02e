"""The authors' SemAIM implementation: its names, its configuration, and the way back.

Their state dict: ``blocks.N`` is the content stream, ``query_blocks.N`` the query stream, ``norm``
the final norm that both share, ``prediction_head`` a Linear or an MLP.
"""

import re
from typing import Any

import torch
from torch import Tensor

from semaim_mm.errors import InputError

_BLOCK = (
    ("norm1", "ln1"),
    ("norm2", "ln2"),
    ("mlp.fc1", "ffn.layers.0.0"),
    ("mlp.fc2", "ffn.layers.1"),
)


def is_authors_state(state: dict[str, Tensor]) -> bool:
    """Whether keys are the authors' (or any timm-style ViT's with fused qkv)."""
    return "patch_embed.proj.weight" in state and "blocks.0.norm1.weight" in state


def _block_names(name: str, to_ours: bool) -> str:
    for theirs, ours in _BLOCK:
        old, new = (theirs, ours) if to_ours else (ours, theirs)
        name = re.sub(rf"(?<=\.){re.escape(old)}(?=\.)", new, name)
    return name


def our_name(name: str) -> str | None:
    """An authors' key -> ours in a SemAIM algorithm, or None for what we derive (the blur)."""
    if name.startswith("gaussian_blur."):
        return None
    if name in ("cls_token", "pos_embed"):
        return f"backbone.{name}"
    if name.startswith("patch_embed.proj."):
        return "backbone." + name.replace("proj", "projection")
    if name.startswith("norm."):
        return name.replace("norm.", "backbone.ln1.")
    if name.startswith("blocks."):
        return _block_names(name.replace("blocks.", "backbone.layers.", 1), to_ours=True)
    if name.startswith("query_blocks."):
        return _block_names(name.replace("query_blocks.", "neck.layers.", 1), to_ours=True)
    if re.fullmatch(r"prediction_head\.(weight|bias)", name):
        return name.replace("prediction_head", "head.fc")
    if name.startswith("prediction_head."):
        return name.replace("prediction_head", "head")
    raise InputError(
        f"The authors' checkpoint holds {name!r}, which has no counterpart here; nothing was "
        "converted. Is it a SemAIM checkpoint?"
    )


def authors_name(name: str) -> str | None:
    """The inverse of ``our_name``; None for what their model does not hold."""
    if name.startswith(("ema.", "target_generator.", "data_preprocessor.")):
        return None
    if name in ("backbone.cls_token", "backbone.pos_embed"):
        return name.removeprefix("backbone.")
    if name.startswith("backbone.patch_embed.projection."):
        return name.removeprefix("backbone.").replace("projection", "proj")
    if name.startswith("backbone.ln1."):
        return name.replace("backbone.ln1.", "norm.")
    if name.startswith("backbone.layers."):
        return _block_names(name.replace("backbone.layers.", "blocks."), to_ours=False)
    if name.startswith("neck.layers."):
        return _block_names(name.replace("neck.layers.", "query_blocks."), to_ours=False)
    if name.startswith("head.fc."):
        return name.replace("head.fc.", "prediction_head.")
    if name.startswith("head.fc"):
        return name.replace("head.", "prediction_head.")
    raise InputError(
        f"{name!r} has no counterpart in the authors' code, so the checkpoint can't be written in "
        "their names; nothing was converted."
    )


def rename_state(state: dict[str, Tensor], to: str) -> tuple[dict[str, Tensor], list[str]]:
    """A whole state dict renamed to 'ours' or 'authors' -> (renamed, names left out)."""
    rule = our_name if to == "ours" else authors_name
    names = {key: rule(key) for key in state}
    left_out = [key for key, name in names.items() if name is None]
    return {name: state[key] for key, name in names.items() if name}, left_out


def algorithm_config(config: dict[str, Any]) -> dict:
    """The authors' keyword arguments -> the config of a SemAIM algorithm.

    Keys as in their constructors: img_size, patch_size, embed_dim, depth, num_heads, mlp_ratio,
    out_dim, query_depth, prediction_head_type, attention_type, loss_type, predict_feature,
    norm_pix_loss, gaussian_kernel_size, gaussian_sigma, share_weight. Others are refused.
    """
    config = dict(config)
    config.pop("seed", None)
    take = config.pop
    width, depth = take("embed_dim", 768), take("depth", 12)
    heads, ratio, size = take("num_heads", 12), take("mlp_ratio", 4), take("patch_size", 16)
    out_dim, feature = take("out_dim", 512), take("predict_feature", "none")
    kernel, sigma = take("gaussian_kernel_size", None), take("gaussian_sigma", None)
    loss, normalize = take("loss_type", "L2"), take("norm_pix_loss", True)
    if feature == "none":
        blurred = kernel and sigma
        target = dict(
            type="PixelTarget",
            blur_kernel=int(kernel) if blurred else None,
            blur_sigma=float(sigma) if blurred else 1.0,
            normalize=bool(normalize),
        )
        loss = loss.lower()
    else:
        # the authors set the width by hand for CLIP; other teachers share the student's
        target = dict(type="GivenTokens", out_dims=out_dim if feature == "clip" else width)
        loss = "unit_l2"
    model = dict(
        type="SemAIM",
        backbone=dict(
            type="SemAIMViT",
            arch=dict(
                embed_dims=width,
                num_layers=depth,
                num_heads=heads,
                feedforward_channels=int(width * ratio),
            ),
            img_size=take("img_size", 224),
            patch_size=size,
            frozen_pos_embed=True,
        ),
        neck=dict(
            type="SemAIMDecoder",
            query_depth=take("query_depth", 12),
            share_weights=bool(take("share_weight", False)),
        ),
        head=dict(
            type="SemAIMHead",
            projection=take("prediction_head_type", "MLP").lower(),
            loss=loss,
        ),
        target_generator=target,
        order=dict(type="SemanticOrder", similarity=take("attention_type", "cls")),
    )
    if config:
        raise InputError(
            f"The authors' configuration has keys unknown here: {', '.join(sorted(config))}; "
            "remove them, or say what they mean in semaim_mm/interop/authors.py."
        )
    return model


def from_authors(state_dict: dict[str, Tensor], **config: Any):
    """The authors' state dict and keyword arguments -> a SemAIM algorithm with those weights.

    Values of the state dict may be tensors or arrays. Raises InputError for a name or a weight
    that does not fit; every weight of the model must be given.
    """
    from mmpretrain.registry import MODELS

    model = MODELS.build(algorithm_config(config))
    tensors = {key: torch.as_tensor(value) for key, value in state_dict.items()}
    renamed, _ = rename_state({k.removeprefix("module."): v for k, v in tensors.items()}, "ours")
    own = {key for key in model.state_dict() if authors_name(key) is not None}
    if set(renamed) != own:
        raise InputError(
            "The authors' state dict does not fit the configuration: missing "
            f"{sorted(own - set(renamed))[:5]}, left over {sorted(set(renamed) - own)[:5]}."
        )
    try:
        model.load_state_dict(renamed, strict=False)
    except RuntimeError as error:
        raise InputError(
            f"The authors' state dict does not fit the configuration: {error}"
        ) from error
    return model


def to_authors(model) -> dict[str, Tensor]:
    """A SemAIM algorithm -> the authors' state dict, every weight of theirs included."""
    renamed, _ = rename_state(model.state_dict(), "authors")
    target = model.target_generator
    if getattr(target, "blur_kernel", None) is not None:
        kernel = torch.outer(target.profile, target.profile)
        renamed["gaussian_blur.weight"] = kernel.expand(3, 1, -1, -1).clone()
    return renamed
