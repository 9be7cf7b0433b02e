"""Relative-position bias of attention, as BEiT has it (arXiv 2106.08254), for any grid.

Legend: a table holds one row of H heads for every offset between two patches of an (h, w) window,
(2h - 1) * (2w - 1) of them, then three rows: CLS to patch, patch to CLS, CLS to CLS.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor


class Relation(NamedTuple):
    """Which row of the table each pair of tokens reads: grid (rows, columns), index (N, N)."""

    grid: tuple[int, int]
    index: Tensor


def table_rows(grid: tuple[int, int]) -> int:
    """(rows, columns) -> the length of its table."""
    return (2 * grid[0] - 1) * (2 * grid[1] - 1) + 3


def relate(grid: tuple[int, int], device: torch.device | None = None) -> Relation:
    """(rows, columns) -> the relation of its 1 + L tokens, CLS first."""
    rows, columns = grid
    offsets = []
    for axis, length in ((0, rows), (1, columns)):
        place = torch.arange(length, device=device)
        place = place[:, None] if axis == 0 else place[None]
        place = place.expand(rows, columns).flatten()
        offsets.append(place[:, None] - place[None] + length - 1)
    last = table_rows(grid)
    size = rows * columns + 1
    index = torch.full((size, size), last - 1, device=device)
    index[0, 1:], index[1:, 0] = last - 3, last - 2
    index[1:, 1:] = offsets[0] * (2 * columns - 1) + offsets[1]
    return Relation(grid, index)


def resize_table(table: Tensor, window: tuple[int, int], grid: tuple[int, int]) -> Tensor:
    """(rows of ``window``, H) -> (rows of ``grid``, H), bilinear; the three CLS rows stay."""
    if tuple(window) == tuple(grid):
        return table
    old, new = ([2 * side - 1 for side in size] for size in (window, grid))
    offsets = table[:-3].T.reshape(1, -1, *old)
    offsets = F.interpolate(offsets.float(), size=new, mode="bilinear").to(table.dtype)
    return torch.cat([offsets.flatten(2)[0].T, table[-3:]])


def position_bias(table: Tensor, window: tuple[int, int], relation: Relation) -> Tensor:
    """(rows of ``window``, H) -> (H, N, N), what attention adds to its scores."""
    return resize_table(table, window, relation.grid)[relation.index].permute(2, 0, 1)
