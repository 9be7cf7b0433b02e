"""What a SemAIMViT can't represent, told by name from the keys of a checkpoint."""

import re
from collections import defaultdict
from collections.abc import Iterable
from typing import NoReturn

from semaim_mm.errors import InputError

# (a key that gives it away, what it is); the first hit is named
_TRAITS = (
    (
        r"rope|rotary|freqs|periods|inv_freq|(^|\.)embeddings\.patch_embeddings\.weight$",
        "rotary position embedding (DINOv3, EVA-02)",
    ),
    (r"\.(proj_l|proj_w)\.", "talking-heads attention (CaiT)"),
    (
        r"\.mlp\.(w1|w2|w3|w12|fc1_g|fc1_x|gate_proj|weights_in|weights_out)\.|\.ffn\.(w12|w3)\.",
        "a gated MLP (SwiGLU)",
    ),
    (r"\.(q_norm|k_norm|ln_q|ln_k)\.", "normalised queries and keys (qk-norm)"),
    (r"\.attn\.(norm|inner_attn_ln|ln)\.|\.mlp\.(norm|ln)\.", "a norm inside a block (sub-LN)"),
    (r"\.attn\.gate\.", "gated attention"),
    (
        r"blocks\.\d+\.attn\.rel_pos_[hw]$",
        "decomposed relative position under names other than mmpretrain's (ViTDet, SAM)",
    ),
    (r"\.rel_pos\.|\.rel_pos_mlp\.", "a learned function of relative position"),
    (r"\.(attns|ffns)\.|blocks\.\d+\.in_proj\.", "parallel attention and MLP branches"),
    (r"expert|\.gate\.wg|router", "a mixture of experts"),
    (r"layers\.\d+\.blocks\.|stages\.|downsample", "a hierarchy of resolutions (Swin and alike)"),
    (r"blocks_token_only|cls_attn", "class-attention blocks (CaiT)"),
    (r"patch_embed\.(backbone|norm|conv\w*|proj\.\d)", "a patch embedding of several layers"),
    (r"temporal|time_embed|tubelet", "a video model"),
)


def refuse_traits(keys: Iterable[str]) -> None:
    """Raise InputError where a key shows something that has no counterpart here."""
    keys = list(keys)
    for pattern, name in _TRAITS:
        for key in keys:
            if re.search(pattern, key):
                raise InputError(
                    f"The checkpoint has {name} ({key}), which SemAIMViT can't represent exactly, "
                    "so nothing was loaded. Choose a plain ViT of the same method."
                )


def refuse_unknown(keys: Iterable[str]) -> NoReturn:
    """Raise InputError for backbone weights without a counterpart, grouped by prefix."""
    keys = list(keys)
    refuse_traits(keys)
    raise InputError(
        f"The checkpoint's backbone has {len(keys)} weights without a counterpart in SemAIMViT "
        f"({describe(keys)}), so it can't be represented exactly; nothing was loaded."
    )


def group_by_prefix(keys: Iterable[str]) -> dict[str, list[str]]:
    """Keys -> {first part of the name: the keys that begin so}."""
    groups = defaultdict(list)
    for key in keys:
        groups[key.split(".")[0]].append(key)
    return dict(groups)


def describe(keys: Iterable[str]) -> str:
    """Keys -> 'layers.* (144), cls_token, ...', short enough for a sentence."""
    groups = group_by_prefix(keys)
    parts = [
        f"{prefix}.* ({len(found)})" if len(found) > 1 else found[0]
        for prefix, found in groups.items()
    ]
    return ", ".join(parts[:8]) + (f" and {len(parts) - 8} more" if len(parts) > 8 else "")
