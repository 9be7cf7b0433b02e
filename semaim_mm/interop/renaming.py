"""What every family's renaming shares: rules over keys, q, k, v into one matrix, position rows.

A scheme's ``rename`` turns its state dict into ours: mmpretrain's names, qkv fused, a row of
``pos_embed`` for every token. Legend: L patches, D width, R registers.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from semaim_mm.errors import InputError
from semaim_mm.interop.refusals import refuse_unknown
from semaim_mm.rel_pos import table_rows

State = Mapping[str, Tensor]
TABLE = "relative_position_bias_table"


class Found(NamedTuple):
    """A backbone in our names, what became of each key (None: left out), and the way back's needs.

    A key of ``names`` stands for all blocks where the file shares one table.
    """

    state: dict[str, Tensor]
    names: dict[str, str | None]
    layout: dict[str, Any]


class Rules:
    """Regular expressions of keys and their replacements; ``drop`` names what is no backbone's."""

    def __init__(self, rename: Iterable[tuple[str, str]], drop: Iterable[str] = ()):
        self.rename = [(re.compile(old), new) for old, new in rename]
        self.drop = re.compile("|".join(f"(?:{pattern})" for pattern in drop) or r"(?!)")

    def apply(self, state: State) -> tuple[dict[str, Tensor], dict[str, str | None]]:
        """-> renamed weights, new names by old. Raises InputError for a key of neither kind."""
        renamed, names, unknown = {}, {}, []
        for key, value in state.items():
            hits = (m.expand(new) for old, new in self.rename if (m := old.fullmatch(key)))
            hit = next(hits, None)
            if hit is not None:
                renamed[hit] = value
                names[key] = re.sub(r"\.attn\.[qkv]\.", ".attn.qkv.", hit)
            elif self.drop.match(key):
                names[key] = None
            else:
                unknown.append(key)
        if unknown:
            refuse_unknown(unknown)
        return renamed, names


def fuse_qkv(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """``attn.q``, ``attn.k``, ``attn.v`` -> ``attn.qkv``; an absent key bias (BEiT's) is zero."""
    fused, parts = {}, {}
    for key, value in state.items():
        split = re.fullmatch(r"(layers\.\d+\.attn\.)([qkv])\.(weight|bias)", key)
        if split:
            parts.setdefault((split[1], split[3]), {})[split[2]] = value
        else:
            fused[key] = value
    for (layer, kind), part in parts.items():
        if kind == "bias" and "k" not in part and set("qv") <= set(part):
            part["k"] = torch.zeros_like(part["q"])
        if set(part) != set("qkv"):
            raise InputError(
                f"{layer}* has a {kind} for {', '.join(sorted(part))} alone; attention here takes "
                "one for each of q, k and v. Nothing was loaded."
            )
        fused[f"{layer}qkv.{kind}"] = torch.cat([part[name] for name in "qkv"])
    return fused


def spread_shared_table(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """One relative-position table for all blocks -> a copy in each, as BEiT's finetuning does."""
    shared = state.pop(TABLE, None)
    if shared is not None:
        for layer in sorted({key.split(".")[1] for key in state if key.startswith("layers.")}):
            state[f"layers.{layer}.attn.{TABLE}"] = shared.clone()
    return state


class GridGuess(NamedTuple):
    """Rows and columns of patches, which a table's length alone does not tell.

    ``told`` is binding; ``hint`` (the backbone's own grid) is taken where it fits, then a square.
    """

    told: tuple[int, int] | None = None
    hint: tuple[int, int] | None = None

    def of_patches(self, count: int) -> tuple[int, int] | None:
        """The number of patches -> their grid, None where no guess fits."""
        return self._pick(round(max(count, 0) ** 0.5), lambda grid: grid[0] * grid[1] == count)

    def of_table(self, rows: int) -> tuple[int, int] | None:
        """The rows of a relative-position table -> its window, None where no guess fits."""
        side = (round(max(rows - 3, 0) ** 0.5) + 1) // 2
        return self._pick(side, lambda grid: table_rows(grid) == rows)

    def _pick(self, side: int, fits: Callable[[tuple], bool]) -> tuple[int, int] | None:
        guesses = [self.told] if self.told else [self.hint, (side, side)]
        usable = (tuple(grid) for grid in guesses if grid and min(grid) > 0)
        return next((grid for grid in usable if fits(grid)), None)


def place_positions(
    state: dict[str, Tensor],
    layout: dict[str, Any],
    guess: GridGuess,
    kinds: Sequence[str] = ("all",),
) -> None:
    """Give ``pos_embed`` a row for every token, in place; ``layout`` remembers how it was.

    ``kinds`` says which tables the scheme knows: rows for 'all' tokens, for CLS alone of the extra
    ones ('class', DINOv2 with registers), for 'patches' alone. BEiT has no table; here it is zero.
    """
    has_class = "cls_token" in state
    extra = has_class + (state["register_tokens"].shape[1] if "register_tokens" in state else 0)
    held = dict(all=extra, patches=0)
    held["class"] = int(has_class)
    table = state.get("pos_embed")
    if table is None:
        window = _window(state, guess)
        width = state["patch_embed.projection.weight"].shape[0]
        state["pos_embed"] = torch.zeros(1, extra + window[0] * window[1], width)
        layout.update(positions="none", grid=list(window))
        return
    if table.ndim != 3 or table.shape[0] != 1:
        raise InputError(
            f"pos_embed has the shape {tuple(table.shape)}, but a table of (1, tokens, width) is "
            "what a ViT here takes; nothing was loaded."
        )
    for kind in kinds:
        window = guess.of_patches(table.shape[1] - held[kind])
        if window:
            break
    else:
        shape = "a square" if guess.told is None else " x ".join(map(str, guess.told))
        raise InputError(
            f"pos_embed has {table.shape[1]} rows, but with {extra} tokens beside the patches that "
            f"is not {shape} of them; say grid=(rows, columns) as the checkpoint was trained. "
            "Nothing was loaded."
        )
    count = held[kind]
    lacking = table.new_zeros(1, extra - count, table.shape[2])
    state["pos_embed"] = torch.cat([table[:, :count], lacking, table[:, count:]], dim=1)
    layout.update(positions=kind, grid=list(window))


def _window(state: dict[str, Tensor], guess: GridGuess) -> tuple[int, int]:
    tables = [value for key, value in state.items() if key.endswith(TABLE)]
    if not tables:
        raise InputError(
            "The file has neither a position table nor a relative-position bias: models without "
            "them use rotary position embedding (DINOv3, EVA-02) or none, which can't be "
            "represented here; nothing was loaded."
        )
    window = guess.of_table(tables[0].shape[0])
    if window is None:
        raise InputError(
            f"The relative-position table has {tables[0].shape[0]} rows, which no square window "
            "has; say grid=(rows, columns) as the checkpoint was trained. Nothing was loaded."
        )
    return window
