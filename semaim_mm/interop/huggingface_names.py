"""Names of Hugging Face's vision towers: ViT, DeiT, ViTMAE, DINOv2, BEiT; CLIP and SigLIP.

q, k and v are split there; position tables of CLIP and SigLIP are embeddings without a batch axis.
"""

from collections.abc import Iterable

from torch import Tensor

from semaim_mm.interop.renaming import (
    TABLE,
    Found,
    GridGuess,
    Rules,
    State,
    fuse_qkv,
    place_positions,
    spread_shared_table,
)

VIT_MARKER = "embeddings.patch_embeddings.projection.weight"
CLIP_MARKER = "embeddings.patch_embedding.weight"
_LAYER = r"encoder\.layer\.(\d+)\."
_ATTENTION = _LAYER + r"attention\."
_VIT_RULES = Rules(
    rename=[
        (r"embeddings\.cls_token", "cls_token"),
        (r"embeddings\.(?:register_tokens|distillation_token)", "register_tokens"),
        (r"embeddings\.position_embeddings", "pos_embed"),
        (r"embeddings\.patch_embeddings\.projection\.(weight|bias)", r"patch_embed.projection.\1"),
        (r"layernorm\.(weight|bias)", r"ln1.\1"),
        (r"pooler\.layernorm\.(weight|bias)", r"ln2.\1"),
        (_LAYER + r"(?:layernorm_before|norm1)\.(weight|bias)", r"layers.\1.ln1.\2"),
        (_LAYER + r"(?:layernorm_after|norm2)\.(weight|bias)", r"layers.\1.ln2.\2"),
        (
            _ATTENTION + r"attention\.([qkv])(?:uery|ey|alue)\.(weight|bias)",
            r"layers.\1.attn.\2.\3",
        ),
        (_ATTENTION + r"output\.dense\.(weight|bias)", r"layers.\1.attn.proj.\2"),
        (_ATTENTION + rf"attention\.relative_position_bias\.{TABLE}", rf"layers.\1.attn.{TABLE}"),
        (rf"encoder\.relative_position_bias\.{TABLE}", TABLE),
        (
            _LAYER + r"(?:intermediate\.dense|mlp\.fc1)\.(weight|bias)",
            r"layers.\1.ffn.layers.0.0.\2",
        ),
        (_LAYER + r"(?:output\.dense|mlp\.fc2)\.(weight|bias)", r"layers.\1.ffn.layers.1.\2"),
        (_LAYER + r"(?:layer_scale1\.lambda1|lambda_1)", r"layers.\1.attn.gamma1.weight"),
        (_LAYER + r"(?:layer_scale2\.lambda1|lambda_2)", r"layers.\1.ffn.gamma2.weight"),
    ],
    drop=[
        r"embeddings\.mask_token$",
        r"pooler\.dense\.",
        r"(classifier|cls_classifier|distillation_classifier|decoder|lm_head)\.",
        r".*relative_position_index$",
    ],
)
_CLIP_LAYER = r"encoder\.layers\.(\d+)\."
_CLIP_RULES = Rules(
    rename=[
        (r"embeddings\.class_embedding", "cls_token"),
        (r"embeddings\.position_embedding\.weight", "pos_embed"),
        (r"embeddings\.patch_embedding\.(weight|bias)", r"patch_embed.projection.\1"),
        (r"pre_layrnorm\.(weight|bias)", r"pre_norm.\1"),
        (r"post_layernorm\.(weight|bias)", r"ln1.\1"),
        (_CLIP_LAYER + r"layer_norm([12])\.(weight|bias)", r"layers.\1.ln\2.\3"),
        (_CLIP_LAYER + r"self_attn\.([qkv])_proj\.(weight|bias)", r"layers.\1.attn.\2.\3"),
        (_CLIP_LAYER + r"self_attn\.out_proj\.(weight|bias)", r"layers.\1.attn.proj.\2"),
        (_CLIP_LAYER + r"mlp\.fc1\.(weight|bias)", r"layers.\1.ffn.layers.0.0.\2"),
        (_CLIP_LAYER + r"mlp\.fc2\.(weight|bias)", r"layers.\1.ffn.layers.1.\2"),
    ],
    drop=[r"embeddings\.position_ids$", r"head\."],
)


def rename_vit(state: State, guess: GridGuess) -> Found:
    """A ViT's, DeiT's, ViTMAE's, DINOv2's or BEiT's state dict -> ours."""
    renamed, names = _VIT_RULES.apply(state)
    layout = {"registers": "reg_token"}
    if "embeddings.distillation_token" in state:
        layout["registers"] = "dist_token"
    renamed = spread_shared_table(fuse_qkv(renamed))
    place_positions(renamed, layout, guess, ("all", "class"))
    return Found(renamed, names, layout)


def vit_family(state: State, elsewhere: Iterable[str]) -> str:
    """-> which tower it is, read off its keys."""
    keys = set(state)
    if any("layer_scale1" in key for key in keys):
        return "Hugging Face DINOv2"
    if any(key.endswith((TABLE, "lambda_1")) for key in keys):
        return "Hugging Face BEiT"
    if any("decoder_pos_embed" in key for key in {*keys, *elsewhere}):
        return "Hugging Face ViTMAE"
    if "embeddings.distillation_token" in keys:
        return "Hugging Face DeiT"
    return "Hugging Face ViT"


def rename_clip(state: State, guess: GridGuess) -> Found:
    """CLIP's or SigLIP's vision tower -> ours."""
    renamed, names = _CLIP_RULES.apply(state)
    renamed = fuse_qkv(renamed)
    _add_batch_axes(renamed)
    layout = {}
    place_positions(renamed, layout, guess, ("all", "class"))
    return Found(renamed, names, layout)


def _add_batch_axes(state: dict[str, Tensor]) -> None:
    for name, axes in (("cls_token", 3), ("pos_embed", 3)):
        while name in state and state[name].ndim < axes:
            state[name] = state[name].unsqueeze(0)


def clip_family(state: State, elsewhere: Iterable[str]) -> str:
    """-> CLIP, or SigLIP where there is neither class token nor norm before the blocks."""
    return "Hugging Face CLIP" if "pre_layrnorm.weight" in state else "Hugging Face SigLIP"
