"""timm's names, and those of the same tree: DeiT, MAE, DINO, iBOT, MoCo v3, BEiT, SemAIM.

``blocks.N.norm1``, ``blocks.N.attn.qkv`` (fused), ``patch_embed.proj``, ``norm``.
"""

import re
from collections.abc import Iterable

import torch
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

MARKER = "patch_embed.proj.weight"
_BLOCK = r"blocks\.(\d+)\."
_RULES = Rules(
    rename=[
        (r"cls_token|pos_embed", r"\g<0>"),
        (r"reg_token|register_tokens|dist_token", "register_tokens"),
        (r"patch_embed\.proj\.(weight|bias)", r"patch_embed.projection.\1"),
        (r"norm_pre\.(weight|bias)", r"pre_norm.\1"),
        (r"norm\.(weight|bias)", r"ln1.\1"),
        (r"fc_norm\.(weight|bias)", r"ln2.\1"),
        (_BLOCK + r"norm([12])\.(weight|bias)", r"layers.\1.ln\2.\3"),
        (_BLOCK + r"attn\.(qkv|proj)\.(weight|bias)", r"layers.\1.attn.\2.\3"),
        (_BLOCK + r"attn\.([qv])_bias", r"layers.\1.attn.\2.bias"),
        (_BLOCK + rf"attn\.{TABLE}", rf"layers.\1.attn.{TABLE}"),
        (rf"rel_pos_bias\.{TABLE}", TABLE),
        (_BLOCK + r"mlp\.fc1\.(weight|bias)", r"layers.\1.ffn.layers.0.0.\2"),
        (_BLOCK + r"mlp\.fc2\.(weight|bias)", r"layers.\1.ffn.layers.1.\2"),
        (_BLOCK + r"(?:ls1\.gamma|gamma_1)", r"layers.\1.attn.gamma1.weight"),
        (_BLOCK + r"(?:ls2\.gamma|gamma_2)", r"layers.\1.ffn.gamma2.weight"),
    ],
    drop=[
        r"(head|head_dist|heads|fc|pre_logits|attn_pool|projector|predictor|lm_head|classifier)\.",
        r"(dino_head|ibot_head|cls_pt_layers|cls_pt_norm)\.",
        r"decoder|query_blocks\.|prediction_head\.|gaussian_blur\.",
        r"mask_token$|masked_embed$",
        r".*relative_position_index$",
    ],
)


def rename(state: State, guess: GridGuess) -> Found:
    """timm's state dict -> ours. Raises InputError for a key that has no counterpart."""
    # DINOv2 trains with blocks in chunks, blocks.CHUNK.N, and N counts through
    plain = {re.sub(r"^blocks\.\d+\.(?=\d+\.)", "blocks.", key): v for key, v in state.items()}
    layout = {
        "scales": "gamma" if "blocks.0.gamma_1" in plain else "ls",
        "registers": "dist_token" if "dist_token" in plain else "reg_token",
        "qv_bias": "blocks.0.attn.q_bias" in plain,
        "shared_table": f"rel_pos_bias.{TABLE}" in plain,
    }
    renamed, names = _RULES.apply(plain)
    renamed = spread_shared_table(_join_biases(renamed))
    place_positions(renamed, layout, guess, ("all", "class", "patches"))
    names = dict(zip(state, names.values(), strict=True))
    return Found(renamed, names, layout)


def _join_biases(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """``attn.q.bias`` and ``attn.v.bias`` beside a fused weight -> ``attn.qkv.bias``."""
    biases = {key: v for key, v in state.items() if re.search(r"\.attn\.[qv]\.bias$", key)}
    rest = {key: value for key, value in state.items() if key not in biases}
    return {**rest, **fuse_qkv(biases)}


def family_name(state: State, elsewhere: Iterable[str]) -> str:
    """-> which of the family it is, read off its other keys; plain 'timm' where nothing tells."""
    keys, other = set(state), set(elsewhere)
    first = {key.split(".")[0] for key in keys}
    if first & {"query_blocks", "prediction_head"}:
        return "SemAIM (authors)"
    if any(key.startswith("decoder") for key in keys):
        return "MAE"
    if "masked_embed" in keys or any("head.last_layer2" in key for key in keys | other):
        return "iBOT"
    if any("head.last_layer" in key for key in keys | other):
        return "DINO"
    if any(key.split(".")[-2:-1] == ["ls1"] for key in keys) and "mask_token" in keys:
        return "DINOv2"
    if any(key.endswith(TABLE) for key in keys) or "blocks.0.attn.q_bias" in keys:
        return "BEiT"
    if "norm_pre.weight" in keys:
        return "timm CLIP"
    if "attn_pool" in first and "cls_token" not in keys:
        return "timm SigLIP"
    if any("momentum_encoder." in key for key in other):
        return "MoCo v3"
    return "timm"


_TO_TIMM = [
    (r"cls_token", "cls_token"),
    (r"patch_embed\.projection\.(weight|bias)", r"patch_embed.proj.\1"),
    (r"pre_norm\.(weight|bias)", r"norm_pre.\1"),
    (r"ln1\.(weight|bias)", r"norm.\1"),
    (r"ln2\.(weight|bias)", r"fc_norm.\1"),
    (r"layers\.(\d+)\.ln([12])\.(weight|bias)", r"blocks.\1.norm\2.\3"),
    (rf"layers\.(\d+)\.attn\.(qkv\.weight|qkv\.bias|proj\.weight|proj\.bias|{TABLE})",
     r"blocks.\1.attn.\2"),
    (r"layers\.(\d+)\.ffn\.layers\.0\.0\.(weight|bias)", r"blocks.\1.mlp.fc1.\2"),
    (r"layers\.(\d+)\.ffn\.layers\.1\.(weight|bias)", r"blocks.\1.mlp.fc2.\2"),
]  # fmt: skip


def to_timm(state: State, layout: dict) -> dict[str, Tensor]:
    """Our backbone's state dict -> timm's; no bit of a weight changes.

    ``layout`` is what ``rename`` noted, so that a file from timm comes back as it was; without it
    the names are those of timm's VisionTransformer, or of its Beit where there are tables.
    """
    has_tables = any(key.endswith(TABLE) for key in state)
    gamma = layout.get("scales", "gamma" if has_tables else "ls") == "gamma"
    scale = r"blocks.\1.gamma_{}" if gamma else r"blocks.\1.ls{}.gamma"
    scales = [
        (r"layers\.(\d+)\.attn\.gamma1\.weight", scale.format(1)),
        (r"layers\.(\d+)\.ffn\.gamma2\.weight", scale.format(2)),
        (r"register_tokens", layout.get("registers", "reg_token")),
    ]
    rest = {key: value for key, value in state.items() if key != "pos_embed"}
    renamed, _ = Rules([*_TO_TIMM, *scales]).apply(rest)
    if layout.get("qv_bias", has_tables):
        renamed = _split_biases(renamed)
    if layout.get("shared_table"):
        renamed = _share_table(renamed)
    return _timm_positions(renamed, state["pos_embed"], layout)


def _split_biases(state: dict[str, Tensor]) -> dict[str, Tensor]:
    split = {}
    for key, value in state.items():
        if not key.endswith("attn.qkv.bias"):
            split[key] = value
            continue
        # timm's Beit has no key bias: it adds one number to all scores of a query, so nothing
        q, _, v = value.chunk(3)
        stem = key.removesuffix("qkv.bias")
        split.update({f"{stem}q_bias": q.clone(), f"{stem}v_bias": v.clone()})
    return split


def _share_table(state: dict[str, Tensor]) -> dict[str, Tensor]:
    tables = {key: value for key, value in state.items() if key.endswith(TABLE)}
    first = next(iter(tables.values()), None)
    if first is None or not all(torch.equal(first, table) for table in tables.values()):
        return state  # trained apart since
    rest = {key: value for key, value in state.items() if key not in tables}
    return {**rest, f"rel_pos_bias.{TABLE}": first}


def _timm_positions(state: dict[str, Tensor], table: Tensor, layout: dict) -> dict[str, Tensor]:
    """Put the position table back as timm holds it; rows that it lacks go into their tokens."""
    token = layout.get("registers", "reg_token")
    tokens = [name for name in ("cls_token", token) if name in state]
    counts = {name: state[name].shape[1] for name in tokens}
    extra = sum(counts.values())
    kind = layout.get("positions", "all")
    # timm knows tables for all tokens or for patches alone, not for CLS and patches
    if kind == "class" or (kind == "all" and token in counts and not table[:, extra - 1].any()):
        kind = "patches"
    if kind == "none" and not table.any():
        return state
    if kind != "patches":
        return {**state, "pos_embed": table}
    start = 0
    for name in tokens:
        rows = table[:, start : start + counts[name]]
        # adding a zero could turn the sign of another
        state[name] = state[name] + rows if rows.any() else state[name]
        start += counts[name]
    return {**state, "pos_embed": table[:, start:].contiguous()}
