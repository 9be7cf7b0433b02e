"""Relative-position bias of attention, for any grid of patches: BEiT's tables and ViTDet's.

Legend: B images, H heads, L = rows * columns patches, N tokens: patches, CLS first if there is one.
A BEiT table (arXiv 2106.08254) holds one row of H numbers for every offset between two patches of
a grid, (2 * rows - 1) * (2 * columns - 1) of them; with CLS then three rows: CLS to patch, patch to
CLS, CLS to CLS. ViTDet's decomposed tables (arXiv 2203.16527, sec. 3) hold one vector for every
offset of rows and one for every offset of columns, which the query is multiplied with.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

CLS_ROWS = 3
KERNEL_WIDTH = 8


def table_rows(grid: tuple[int, int], cls: bool = True) -> int:
    """(rows, columns) -> the length of its table."""
    return (2 * grid[0] - 1) * (2 * grid[1] - 1) + CLS_ROWS * cls


def resize_table(table: Tensor, window: tuple[int, int], grid: tuple[int, int]) -> Tensor:
    """(rows of ``window``, H) -> (rows of ``grid``, H), bilinear; the rows of CLS stay."""
    if tuple(window) == tuple(grid):
        return table
    old, new = ([2 * side - 1 for side in size] for size in (window, grid))
    offsets, rest = table[: old[0] * old[1]], table[old[0] * old[1] :]
    offsets = F.interpolate(offsets.T.reshape(1, -1, *old).float(), size=new, mode="bilinear")
    return torch.cat([offsets.to(table.dtype).flatten(2)[0].T, rest])


def position_bias(
    table: Tensor, window: tuple[int, int], grid: tuple[int, int], cls: bool = True
) -> Tensor:
    """(rows of ``window``, H) -> (H, N, N), what attention adds to its scores on ``grid``."""
    table = resize_table(table, window, grid)
    rows, columns = grid
    offsets = table[: (2 * rows - 1) * (2 * columns - 1)].T.reshape(
        -1, 2 * rows - 1, 2 * columns - 1
    )
    # [h, r, c, x, y] is the offset (r + x, c + y); the key lies at rows - 1 - x, columns - 1 - y
    pairs = offsets.unfold(1, rows, 1).unfold(2, columns, 1).flip(3, 4)
    bias = pairs.reshape(-1, rows * columns, rows * columns)
    if not cls:
        return bias
    to_patch, to_cls, itself = table[-3:, :, None, None]
    size = rows * columns
    left = to_cls.expand(-1, size, 1)
    top = torch.cat([itself, to_patch.expand(-1, 1, size)], dim=2)
    return torch.cat([top, torch.cat([left, bias], dim=2)], dim=1)


def fold_bias(
    q: Tensor, k: Tensor, table_h: Tensor, table_w: Tensor, grid: tuple[int, int]
) -> tuple[Tensor, Tensor]:
    """(B, H, L, d) queries and keys, decomposed tables -> both (B, H, L, d + rows + columns).

    A pair's score is q.k / sqrt(d) + (q.R_h)[row of k] + (q.R_w)[column of k]: with the keys' row
    and column written as unit vectors, one product, to attend by with ``scale=1`` and no (L, L)
    bias. Tables made for another grid are interpolated. The width is filled up with zeros to a
    multiple of 8, which fused kernels want.
    """
    rows, columns = grid
    along_h, along_w = axis_scores(q, table_h, table_w, grid)
    filling = -(q.shape[-1] + rows + columns) % KERNEL_WIDTH
    place = torch.arange(rows * columns, device=q.device)
    unit_h = F.one_hot(place // columns, rows).to(k.dtype)
    unit_w = F.one_hot(place % columns, columns + filling).to(k.dtype)
    units = torch.cat([unit_h, unit_w], dim=-1).expand(*k.shape[:2], -1, -1)
    along_h, along_w = along_h.flatten(-3, -2), along_w.flatten(-3, -2)
    scaled = q * q.shape[-1] ** -0.5
    queries = torch.cat([scaled, along_h, F.pad(along_w, (0, filling))], dim=-1)
    return queries, torch.cat([k, units], dim=-1)


def axis_scores(
    q: Tensor, table_h: Tensor, table_w: Tensor, grid: tuple[int, int]
) -> tuple[Tensor, Tensor]:
    """(..., L, d) queries -> (..., rows, columns, rows) and (..., rows, columns, columns).

    Each query's product with the vectors of its offsets to every row, and to every column.
    """
    rows, columns = grid
    q = q.unflatten(-2, grid)
    return (
        torch.einsum("...rcd,rkd->...rck", q, _offset_vectors(table_h, rows).to(q.dtype)),
        torch.einsum("...rcd,ckd->...rck", q, _offset_vectors(table_w, columns).to(q.dtype)),
    )


def resize_vectors(table: Tensor, length: int) -> Tensor:
    """(2 * side - 1, d) -> (length, d), linear."""
    if len(table) == length:
        return table
    resized = F.interpolate(table.T[None].float(), size=length, mode="linear")
    return resized[0].T.to(table.dtype)


def _offset_vectors(table: Tensor, side: int) -> Tensor:
    """-> (side, side, d): the vector of query place minus key place, for every pair."""
    return resize_vectors(table, 2 * side - 1).unfold(0, side, 1).flip(2).transpose(1, 2)
