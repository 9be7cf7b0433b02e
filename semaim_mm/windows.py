"""Attention inside windows of a map, as ViTDet has it (arXiv 2203.16527, sec. 3).

Legend: B images, L = rows * columns patches in raster order, D width, S window's side, W windows.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch.nn.functional as F
from torch import Tensor

from semaim_mm.errors import InputError

REL_POS = (None, "shared", "decomposed")


class Windows(NamedTuple):
    """How the blocks of a dense task attend; what ``SemAIMViT(windows=dict(...))`` takes.

    Args:
        size: side of a window in patches; 0 lets every block see the whole map.
        global_blocks: numbers of the blocks, from 0, that see the whole map beside windowed ones;
            None is the last block of every quarter.
        rel_pos: relative position that starts at zero here: 'shared' (one BEiT table for all
            windowed and one for all global blocks), 'decomposed' (ViTDet's vectors, per block), or
            None.
        map_size: rows and columns of patches (or one number) that global tables are made for; they
            are interpolated for others. None is the grid of ``img_size``.
    """

    size: int = 0
    global_blocks: Sequence[int] | None = None
    rel_pos: str | None = None
    map_size: int | Sequence[int] | None = None

    def settle(self, depth: int, grid: tuple[int, int]) -> "Windows":
        """-> the same with its defaults filled in. Raises InputError for what can't be."""
        if self.rel_pos not in REL_POS:
            raise InputError(
                f"SemAIMViT: windows.rel_pos={self.rel_pos!r} is none of "
                f"{', '.join(map(repr, REL_POS))}; choose one."
            )
        if self.size < 0:
            raise InputError(
                f"SemAIMViT: windows.size={self.size} is negative; give a side in patches, or 0."
            )
        blocks = self.global_blocks
        if blocks is None:
            if self.size and depth % 4:
                raise InputError(
                    f"SemAIMViT: {depth} blocks have no quarters; name windows.global_blocks."
                )
            blocks = [depth * quarter // 4 - 1 for quarter in (1, 2, 3, 4)]
        strangers = [block for block in blocks if not 0 <= block < depth]
        if self.size and strangers:
            raise InputError(
                f"SemAIMViT: windows.global_blocks names {strangers}, but the blocks are numbered "
                f"0 to {depth - 1}."
            )
        size = self.map_size or grid
        size = (size, size) if isinstance(size, int) else tuple(size)
        return self._replace(global_blocks=tuple(blocks), map_size=size)

    @classmethod
    def read(cls, given: dict | None) -> "Windows":
        """A config's dict -> Windows. Raises InputError for a key that there is not."""
        unknown = [key for key in given or {} if key not in cls._fields]
        if unknown:
            raise InputError(
                f"SemAIMViT: windows has no {', '.join(unknown)}; its keys are "
                f"{', '.join(cls._fields)}."
            )
        return cls(**(given or {}))

    @property
    def active(self) -> bool:
        """Whether anything here differs from plain attention."""
        return bool(self.size or self.rel_pos)

    def side(self, block: int) -> int:
        """A block's number -> the side of its windows, 0 where it sees the whole map."""
        return 0 if block in self.global_blocks else self.size


def to_windows(tokens: Tensor, grid: tuple[int, int], size: int) -> Tensor:
    """(B, L, D) -> (B * W, S * S, D); zeros fill what sticks out on the right and at the bottom."""
    rows, columns = grid
    map_ = tokens.unflatten(1, grid)
    map_ = F.pad(map_, (0, 0, 0, -columns % size, 0, -rows % size))
    map_ = map_.unflatten(2, (-1, size)).unflatten(1, (-1, size))
    return map_.transpose(2, 3).flatten(0, 2).flatten(1, 2)


def from_windows(windows: Tensor, grid: tuple[int, int], size: int) -> Tensor:
    """(B * W, S * S, D) -> (B, L, D), without what was filled in."""
    rows, columns = grid
    down, across = -(-rows // size), -(-columns // size)
    map_ = windows.unflatten(1, (size, size)).unflatten(0, (-1, down, across))
    map_ = map_.transpose(2, 3).flatten(3, 4).flatten(1, 2)
    return map_[:, :rows, :columns].flatten(1, 2)
