"""A library's own model on images of any size, whole or in windows: its map after every block.

Its own modules do all the work, preprocessing included; put in are positions of the size and, for
detection, windows around attention, which then sees patches alone.

Legend: B images, E extra tokens (CLS, registers), L = rows * columns patches, D width, H heads.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from unittest.mock import patch

import huggingface_models
import openmmlab_models
import timm_models
import torch
import torch.nn.functional as F
from library_models import Case, randomise
from timm.models.beit import gen_relative_position_index
from torch import Tensor, nn

MAKERS = (timm_models, huggingface_models, openmmlab_models)
PATCH = 16  # of every dense config

_BLOCKS = ("blocks", "layers", "encoder.layer", "vision_model.encoder.layers", "vit.encoder.layer")
_ATTENTION = ("attn", "attention", "self_attn")
# the argument in which an attention module takes what is added to its scores
_BIAS = {
    "timm.layers.attention": "attn_mask",
    "timm.models.beit": "shared_rel_pos_bias",
    "transformers.models.beit.modeling_beit": "relative_position_bias",
    "mmpretrain.models.utils.attention": "rel_pos_bias",
}


class Library:
    """A family's test model: ``case`` says what its file holds, ``blocks`` are its own modules."""

    def __init__(self, make: Callable[[], Case]):
        made = []

        def keep(model: nn.Module, *seed: int) -> nn.Module:
            made.append(model)
            return randomise(model, *seed)

        with ExitStack() as stack:
            for maker in MAKERS:
                stack.enter_context(patch.object(maker, "randomise", keep))
            self.case = make()
        self.model = made[0]  # a second one is a student or a momentum encoder
        self.kind = type(self.model).__module__.split(".")[0]
        self.blocks = list(next(filter(None, (_follow(self.model, path) for path in _BLOCKS))))
        self.patch = self._convolution()[1].kernel_size[0]
        self.windows: list[InWindows] = []
        self.grid = (0, 0)

    def place(self, positions: Tensor, grid: tuple[int, int], embedding: Tensor) -> None:
        """Make it take images of a grid.

        Args:
            positions: (1, E + L, D) of that grid.
            embedding: the weight of the patch embedding, taken where its own patches are not of 16.
        """
        self.grid = grid
        if self.kind == "timm":
            size = (PATCH * grid[0], PATCH * grid[1])
            self.model.patch_embed.set_input_size(size, patch_size=PATCH)
        if self.patch != PATCH:
            name, own = self._convolution()
            new = nn.Conv2d(3, len(embedding), PATCH, PATCH, bias=own.bias is not None)
            new.weight, new.bias = nn.Parameter(embedding.detach()), own.bias
            owner, _, last = name.rpartition(".")
            setattr(self.model.get_submodule(owner), last, new)
        rows = self._rows(positions)
        if self.kind == "transformers":
            self._embeddings().interpolate_pos_encoding = lambda *_: rows
        elif self.model.pos_embed is not None:
            self.model.pos_embed = nn.Parameter(rows)
            self.model.patch_resolution = grid

    def place_tables(
        self, tables: Sequence[Tensor], made: tuple[int, int], grid: tuple[int, int]
    ) -> None:
        """Put in every block's BEiT table, made for a grid, for images of another.

        Hugging Face's class interpolates by itself; for the others the table is made to fit here.
        """
        holders = [m for m in self.model.modules() if hasattr(m, "relative_position_bias_table")]
        holders = [m for m in holders if m.relative_position_bias_table is not None]
        own = self.kind == "transformers"
        index = None if own else gen_relative_position_index(grid)
        for holder, table in zip(holders, tables, strict=len(holders) > 1):
            if own:
                holder.num_relative_distance = len(table)
            else:
                table = stretch_table(table, made, grid)
                holder.relative_position_index = index
            holder.window_size = made if own else grid
            holder.window_area = grid[0] * grid[1]
            holder.relative_position_bias_table = nn.Parameter(table)

    def cut(self, sides: Sequence[int]) -> None:
        """Give each block's attention windows of a side (0: none), patches alone, and no table."""
        for module in self.model.modules():
            for name, nothing in (
                ("rel_pos_bias", None),
                ("has_relative_position_bias", False),
                ("relative_position_bias_table", None),
            ):
                if getattr(module, name, None) is not None:
                    setattr(module, name, nothing)
        for block, side in zip(self.blocks, sides, strict=True):
            name = next(name for name in _ATTENTION if hasattr(block, name))
            self.windows.append(InWindows(getattr(block, name), side))
            setattr(block, name, self.windows[-1])

    def maps(self, raw: Tensor) -> list[Tensor]:
        """(B, 3, H, W) pixels 0..255 -> the (B, D, rows, columns) patches after every block."""
        found, patches = [], self.grid[0] * self.grid[1]

        def only_patches(block: nn.Module, inputs: tuple) -> tuple:
            return (inputs[0][:, -patches:], *inputs[1:])

        def keep(block: nn.Module, inputs: tuple, output: Tensor | tuple) -> None:
            tokens = output[0] if isinstance(output, tuple) else output
            found.append(tokens[:, -patches:].unflatten(1, self.grid).permute(0, 3, 1, 2))
            if len(found) == len(self.blocks):
                raise _Enough

        hooks = [block.register_forward_hook(keep) for block in self.blocks]
        if self.windows:
            hooks.append(self.blocks[0].register_forward_pre_hook(only_patches))
        for windows in self.windows:
            windows.grid = self.grid
        try:
            self.case.tokens(raw)
        except _Enough:
            return found
        finally:
            for hook in hooks:
                hook.remove()
        raise RuntimeError("The library's forward ran fewer blocks than it has.")

    def _convolution(self) -> tuple[str, nn.Conv2d]:
        modules = self.model.named_modules()
        return next((name, m) for name, m in modules if isinstance(m, nn.Conv2d))

    def _embeddings(self) -> nn.Module | None:
        """Hugging Face's module that adds positions."""
        modules = self.model.modules()
        return next((m for m in modules if hasattr(m, "interpolate_pos_encoding")), None)

    def _rows(self, positions: Tensor) -> Tensor:
        """Positions of every token -> of those that the library adds them to."""
        extra = positions.shape[1] - self.grid[0] * self.grid[1]
        held = extra
        if getattr(self.model, "no_embed_class", False):
            held = 0  # timm: patches alone
        elif hasattr(self._embeddings(), "register_tokens"):
            held = 1  # Hugging Face: CLS and patches
        return torch.cat([positions[:, :held], positions[:, extra:]], dim=1)


class _Enough(Exception):
    """The last block is through; what follows belongs to other tasks."""


class InWindows(nn.Module):
    """A library's attention module, run on square windows of a map; zeros fill up the last ones.

    ``bias`` (H, N, N), where set, is added to the scores of the N tokens that see each other.
    """

    def __init__(self, inner: nn.Module, side: int):
        super().__init__()
        self.inner, self.side = inner, side
        self.bias: Tensor | None = None
        self.grid = (0, 0)

    def forward(self, *args, identity: Tensor | None = None, **named):
        """(B, L, D) tokens, however the library names them -> its module's output on windows."""
        if not args:
            args = (named.pop("hidden_states"),)
        tokens, args = args[0], args[1:]
        if self.bias is not None:
            named[_BIAS[type(self.inner).__module__]] = self.bias
        windows = self._split(tokens)
        if identity is not None:  # mmseg's module adds the residual itself
            named["identity"] = torch.zeros_like(windows)
        output = self.inner(windows, *args, **named)
        out = output[0] if isinstance(output, tuple) else output
        out = self._join(out, tokens)
        if identity is not None:
            return identity + out
        return (out, *output[1:]) if isinstance(output, tuple) else out

    def _places(self) -> list[tuple[slice, slice]]:
        rows, columns = (range(0, side, self.side) for side in self.grid)
        return [(slice(r, r + self.side), slice(c, c + self.side)) for r in rows for c in columns]

    def _split(self, tokens: Tensor) -> Tensor:
        if not self.side:
            return tokens
        windows = []
        for down, across in self._places():
            part = tokens.unflatten(1, self.grid)[:, down, across]
            window = tokens.new_zeros(len(tokens), self.side, self.side, tokens.shape[2])
            window[:, : part.shape[1], : part.shape[2]] = part
            windows.append(window.flatten(1, 2))
        return torch.cat(windows)

    def _join(self, windows: Tensor, tokens: Tensor) -> Tensor:
        if not self.side:
            return windows
        map_ = torch.empty_like(tokens).unflatten(1, self.grid)
        places = self._places()
        for window, (down, across) in zip(windows.chunk(len(places)), places, strict=True):
            part = map_[:, down, across]
            square = window.unflatten(1, (self.side, self.side))
            part.copy_(square[:, : part.shape[1], : part.shape[2]])
        return map_.flatten(1, 2)


def _follow(model: nn.Module | None, path: str) -> nn.Module | None:
    for name in path.split("."):
        model = getattr(model, name, None)
    return model


def stretch_positions(table: Tensor, old: tuple[int, int], new: tuple[int, int]) -> Tensor:
    """(1, E + L, D) positions of a grid -> those of another, bicubic; extra tokens keep theirs."""
    if old == new:
        return table
    extra = table.shape[1] - old[0] * old[1]
    map_ = table[:, extra:].unflatten(1, old).permute(0, 3, 1, 2)
    map_ = F.interpolate(map_, size=new, mode="bicubic", align_corners=False)
    return torch.cat([table[:, :extra], map_.permute(0, 2, 3, 1).flatten(1, 2)], dim=1)


def stretch_table(table: Tensor, old: tuple[int, int], new: tuple[int, int]) -> Tensor:
    """A BEiT table of a grid -> that of another, bilinear over offsets; rows of CLS stay."""
    before, after = ([2 * side - 1 for side in grid] for grid in (old, new))
    count = before[0] * before[1]
    map_ = table[:count].unflatten(0, before).permute(2, 0, 1)[None]
    map_ = F.interpolate(map_, size=after, mode="bilinear", align_corners=False)[0]
    return torch.cat([map_.permute(1, 2, 0).flatten(0, 1), table[count:]])


def bias_by_offset(table: Tensor, grid: tuple[int, int]) -> Tensor:
    """A table of a grid, rows of CLS left alone -> (H, L, L), each pair's row by its offset."""
    rows, columns = grid
    row = torch.arange(rows).repeat_interleave(columns)
    column = torch.arange(columns).repeat(rows)
    down = row[:, None] - row + rows - 1
    across = column[:, None] - column + columns - 1
    return table[down * (2 * columns - 1) + across].permute(2, 0, 1)
