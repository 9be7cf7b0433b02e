"""Names of OpenAI's CLIP and of open_clip: ``visual.conv1``, ``visual.transformer.resblocks.N``."""

from collections.abc import Iterable

from semaim_mm.interop.renaming import Found, GridGuess, Rules, State, place_positions

MARKER = "ln_pre.weight"
_BLOCK = r"transformer\.resblocks\.(\d+)\."
_RULES = Rules(
    rename=[
        (r"class_embedding", "cls_token"),
        (r"positional_embedding", "pos_embed"),
        (r"conv1\.weight", "patch_embed.projection.weight"),
        (r"ln_pre\.(weight|bias)", r"pre_norm.\1"),
        (r"ln_post\.(weight|bias)", r"ln1.\1"),
        (_BLOCK + r"ln_([12])\.(weight|bias)", r"layers.\1.ln\2.\3"),
        (_BLOCK + r"attn\.in_proj_(weight|bias)", r"layers.\1.attn.qkv.\2"),
        (_BLOCK + r"attn\.out_proj\.(weight|bias)", r"layers.\1.attn.proj.\2"),
        (_BLOCK + r"mlp\.c_fc\.(weight|bias)", r"layers.\1.ffn.layers.0.0.\2"),
        (_BLOCK + r"mlp\.c_proj\.(weight|bias)", r"layers.\1.ffn.layers.1.\2"),
        (_BLOCK + r"ls_1\.gamma", r"layers.\1.attn.gamma1.weight"),
        (_BLOCK + r"ls_2\.gamma", r"layers.\1.ffn.gamma2.weight"),
    ],
    # the projection into the space shared with text is no part of the tower's tokens
    drop=[r"proj$"],
)


def rename(state: State, guess: GridGuess) -> Found:
    """The vision tower's state dict -> ours."""
    renamed, names = _RULES.apply(state)
    renamed["cls_token"] = renamed["cls_token"].reshape(1, 1, -1)
    renamed["pos_embed"] = renamed["pos_embed"].unsqueeze(0)
    layout = {}
    place_positions(renamed, layout, guess)
    return Found(renamed, names, layout)


def family_name(state: State, elsewhere: Iterable[str]) -> str:
    """-> the one family of these names."""
    return "OpenAI CLIP"
