"""A checkpoint file of any known family -> a backbone in our names, and what travels with it."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor

from semaim_mm.errors import InputError
from semaim_mm.interop.checkpoint_file import read_file
from semaim_mm.interop.checkpoint_write import META_KEY, read_meta
from semaim_mm.interop.config_text import facts_of_text
from semaim_mm.interop.conventions import ACTIVATIONS, FACTS, Fact, settle
from semaim_mm.interop.families import locate
from semaim_mm.interop.refusals import describe
from semaim_mm.interop.renaming import TABLE, GridGuess, State
from semaim_mm.interop.sidecar import facts_beside


class Origin(NamedTuple):
    """Where weights come from and what must go with them; mean and std of pixels in 0..255, RGB.

    ``told_by`` says of every fact where it is known from; ``layout`` is what the way back to the
    family's own names needs.
    """

    family: str
    prefix: str
    norm_eps: float
    activation: str
    num_heads: int | None
    mean: tuple[float, ...]
    std: tuple[float, ...]
    told_by: dict[str, str]
    left_out: tuple[str, ...]
    layout: dict[str, Any]

    def __str__(self) -> str:
        parts = [
            f"LayerNorm eps {self.norm_eps:g} (by {self.told_by['norm_eps']})",
            f"{self.activation} (by {self.told_by['activation']})",
            f"{self.num_heads} heads (by {self.told_by.get('num_heads', 'the backbone')})",
            f"mean {_numbers(self.mean)} and std {_numbers(self.std)} (by {self.told_by['mean']})",
        ]
        left = f"; left out: {describe(self.left_out)}" if self.left_out else ""
        return f"{self.family}, {', '.join(parts)}{left}"

    def note(self) -> dict[str, Any]:
        """-> plain values for a converted file's meta; ``read_backbone`` reads them there."""
        facts = {name: getattr(self, name) for name in FACTS}
        return dict(family=self.family, layout=self.layout, **facts)


class BackboneFile(NamedTuple):
    """A backbone as read: our names and a row of ``pos_embed`` for every token, and its origin.

    ``names`` says under which of our names each key of the file went, None for one left out.
    """

    path: str
    state: dict[str, Tensor]
    origin: Origin
    names: dict[str, str | None]

    @property
    def grid(self) -> tuple[int, int]:
        return tuple(self.origin.layout["grid"])

    @property
    def patch_size(self) -> int:
        return patch_side(self.state, self.path)


def read_backbone(
    path: str | Path,
    prefix: str | None = None,
    grid: tuple[int, int] | None = None,
    hint: tuple[int, int] | None = None,
    **facts: Any,
) -> BackboneFile:
    """Read the backbone in ``path``, of whatever family; its keys tell which.

    Args:
        prefix: which one where there are several, e.g. 'student.backbone.'.
        grid: rows and columns of patches in its position table, where they are no square.
        hint: a grid to take where it fits, before a square.
        **facts: norm_eps, activation, num_heads, mean, std (of pixels in 0..255): what the weights
            do not tell, where the caller knows better than the file's notes and its family.

    Raises:
        InputError: no known family, or something that can't be represented, by name.
    """
    unknown = [name for name in facts if name not in FACTS]
    if unknown:
        raise InputError(f"A checkpoint has no fact {unknown[0]!r}; say {', '.join(FACTS)}.")
    return backbone_of(read_file(path), path, prefix, GridGuess(grid, hint), facts)


def backbone_of(
    content: Mapping[str, Any],
    path: str | Path,
    prefix: str | None = None,
    guess: GridGuess | None = None,
    facts: Mapping[str, Any] | None = None,
) -> BackboneFile:
    """What the file ``path`` holds -> its backbone; see ``read_backbone``."""
    located = locate(content, path, prefix)
    found = located.scheme.rename(located.state, guess or GridGuess())
    check_shapes(found.state, path)
    _, meta = read_meta(path, content)
    note = meta.get(META_KEY)
    note = note.get("origin", {}) if isinstance(note, Mapping) else {}
    family = note.get("family") or located.scheme.family(located.state, located.elsewhere)
    text = meta.get("cfg")
    width, depth = found.state["patch_embed.projection.weight"].shape[0], depth_of(found.state)
    settled = settle(
        family,
        found.state,
        ("config.json", facts_beside(path, width, depth)),
        ("the config text in it", facts_of_text(text) if isinstance(text, str) else {}),
        ("the note in it", {k: note.get(k) for k in FACTS}),
        ("the caller", facts or {}),
    )
    # keys are told without the container that the backbone itself lies in
    boxes = (f"{name}." for name, held in content.items() if isinstance(held, Mapping))
    box = next((box for box in boxes if located.prefix.startswith(box)), "")
    elsewhere = (key.removeprefix(box) for key in located.elsewhere)
    values = {name: settled.get(name, Fact(None, "")).value for name in FACTS}
    origin = Origin(
        family=family,
        prefix=located.prefix,
        **values,
        told_by={name: fact.source for name, fact in settled.items()},
        left_out=(*(k for k, new in found.names.items() if new is None), *elsewhere),
        layout={**note.get("layout", {}), **_given(found.layout, note)},
    )
    names = {located.prefix + key: new for key, new in found.names.items()}
    names.update(dict.fromkeys(located.elsewhere))
    return BackboneFile(str(path), found.state, origin, names)


def _given(layout: dict[str, Any], note: Mapping[str, Any]) -> dict[str, Any]:
    # a converted file has lost how positions lay in the original; the note keeps it
    return {key: value for key, value in layout.items() if key not in note.get("layout", {})}


def _numbers(values: tuple[float, ...]) -> str:
    return "(" + ", ".join(f"{value:g}" for value in values) + ")"


def check_shapes(state: State, path: str | Path) -> None:
    """Raise InputError for shapes that betray another kind of model."""
    patch_side(state, path)
    for key, value in state.items():
        second = key.replace("ffn.layers.0.0.weight", "ffn.layers.1.weight")
        if second != key and second in state and value.shape[0] == 2 * state[second].shape[1]:
            raise InputError(
                f"{path} has a gated MLP (packed SwiGLU or GLU: {key} is {tuple(value.shape)}, the "
                f"layer after it {tuple(state[second].shape)}), which SemAIMViT can't represent "
                "exactly; nothing was loaded."
            )


def patch_side(state: State, path: str | Path) -> int:
    """-> the side of a patch. Raises InputError for patches that are not square."""
    weight = state["patch_embed.projection.weight"]
    if weight.ndim != 4 or weight.shape[2] != weight.shape[3]:
        raise InputError(
            f"{path} embeds patches with a weight of shape {tuple(weight.shape)}; square patches "
            "of an image, (width, channels, p, p), are what SemAIMViT takes."
        )
    return weight.shape[2]


def depth_of(state: State) -> int:
    """-> the number of blocks."""
    numbers = {int(match[1]) for key in state if (match := re.match(r"layers\.(\d+)\.", key))}
    return max(numbers, default=-1) + 1


def backbone_config(file: BackboneFile) -> dict[str, Any]:
    """-> the arguments with which a SemAIMViT has just this file's weights and conventions."""
    state, origin = file.state, file.origin
    weight = state["patch_embed.projection.weight"]
    has_class, has_norm = "cls_token" in state, "ln1.weight" in state
    pooled = "ln2.weight" in state and not has_norm
    if depth_of(state) == 0 or "layers.0.ffn.layers.0.0.weight" not in state:
        raise InputError(f"{file.path} has no transformer blocks ({describe(state)}).")
    if origin.num_heads is None:
        raise InputError(
            f"The number of attention heads is not in {file.path}, and a width of "
            f"{weight.shape[0]} does not tell it (no multiple of 64); say num_heads=... as the "
            "model was trained."
        )
    return dict(
        arch=dict(
            embed_dims=weight.shape[0],
            num_layers=depth_of(state),
            num_heads=origin.num_heads,
            feedforward_channels=state["layers.0.ffn.layers.0.0.weight"].shape[0],
        ),
        img_size=tuple(side * file.patch_size for side in file.grid),
        patch_size=file.patch_size,
        in_channels=weight.shape[1],
        with_cls_token=has_class,
        out_type="avg_featmap" if pooled else "cls_token" if has_class else "raw",
        final_norm=has_norm,
        **traits(file),
    )


def traits(file: BackboneFile) -> dict[str, Any]:
    """-> the arguments of SemAIMViT beyond sizes: what a config must carry for these weights."""
    state, origin = file.state, file.origin
    registers = state.get("register_tokens")
    return dict(
        norm_cfg=dict(type="LN", eps=origin.norm_eps),
        layer_cfgs=dict(act_cfg=dict(ACTIVATIONS[origin.activation])),
        qkv_bias="layers.0.attn.qkv.bias" in state,
        pre_norm="pre_norm.weight" in state,
        patch_cfg=dict(bias="patch_embed.projection.bias" in state),
        layer_scale_init_value=1e-5 if "layers.0.attn.gamma1.weight" in state else 0.0,
        num_registers=0 if registers is None else registers.shape[1],
        rel_pos_bias=f"layers.0.attn.{TABLE}" in state,
        frozen_pos_embed=origin.layout.get("positions") == "none",
    )
