"""Names of mmpretrain, mmselfsup, mmcls and mmseg, which are also ours: ``layers.N.ln1``.

mmseg's and the oldest mmcls' attention is torch's (``attn.attn.in_proj_weight``); BEiT keeps
LayerScale beside attention and q and v biases apart; ViTSAM's position table is a map.
"""

import re
from collections.abc import Iterable

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

MARKER = "patch_embed.projection.weight"
_LAYER = r"layers\.(\d+)\."
_RULES = Rules(
    rename=[
        (r"cls_token|pos_embed|register_tokens", r"\g<0>"),
        (r"dist_token", "register_tokens"),
        (r"(patch_embed\.projection|pre_norm|ln1|ln2)\.(weight|bias)", r"\g<0>"),
        (_LAYER + r"(ln1|ln2|attn\.qkv|attn\.proj|ffn\.layers\.0\.0|ffn\.layers\.1)\.(weight|bias)",
         r"\g<0>"),
        (_LAYER + rf"(attn\.gamma1\.weight|ffn\.gamma2\.weight|attn\.{TABLE})", r"\g<0>"),
        (_LAYER + r"attn\.attn\.in_proj_(weight|bias)", r"layers.\1.attn.qkv.\2"),
        (_LAYER + r"attn\.attn\.out_proj\.(weight|bias)", r"layers.\1.attn.proj.\2"),
        (_LAYER + r"attn\.([qv])_bias", r"layers.\1.attn.\2.bias"),
        (_LAYER + r"gamma_1", r"layers.\1.attn.gamma1.weight"),
        (_LAYER + r"gamma_2", r"layers.\1.ffn.gamma2.weight"),
        (rf"rel_pos_bias\.{TABLE}", TABLE),
        (_LAYER + r"attn\.rel_pos_[hw]|rel_pos_shared\.(whole|window)", r"\g<0>"),
    ],
    drop=[
        r"mask_token$", r".*relative_position_index$", r"head\.", r"decoder", r"channel_reduction\."
    ],
)  # fmt: skip


def rename(state: State, guess: GridGuess) -> Found:
    """mmpretrain's state dict -> ours; a plain ViT's keys stay as they are."""
    renamed, names = _RULES.apply(state)
    biases = {k: renamed.pop(k) for k in list(renamed) if k.endswith((".q.bias", ".v.bias"))}
    renamed = spread_shared_table({**renamed, **fuse_qkv(biases)})
    layout = {"registers": "dist_token"} if "dist_token" in state else {}
    table = renamed.get("pos_embed")
    if table is not None and table.ndim == 4:
        guess = GridGuess(told=tuple(table.shape[1:3]))
        renamed["pos_embed"] = table.flatten(1, 2)
    place_positions(renamed, layout, guess)
    return Found(renamed, names, layout)


def is_plain(state: State) -> bool:
    """Whether keys are such as our own backbone has, so that nothing needs a new name."""
    return not any(
        re.search(r"\.attn\.attn\.|\.[qv]_bias$|\.gamma_[12]$|^rel_pos_bias|^dist_token", key)
        for key in state
    )


def family_name(state: State, elsewhere: Iterable[str]) -> str:
    """-> which of mmpretrain's backbones it is; conventions of CLIP and BEiT differ."""
    if "pre_norm.weight" in state:
        return "mmpretrain CLIP"
    has_table = any(key.endswith(TABLE) for key in state)
    if has_table or "layers.0.gamma_1" in state or "layers.0.attn.q_bias" in state:
        return "mmpretrain BEiT"
    if any("momentum_encoder." in key for key in elsewhere):
        return "mmpretrain MoCo v3"
    return "mmpretrain"
