"""Fixed 2-D sin-cos position embedding in the authors' axis order.

The first half of the channels encodes the column, the second half the row; mmpretrain's own
builder gives the transpose. Source: the authors' ``util/pos_embed.py`` (itself MAE's).
"""

import torch
from torch import Tensor

from semaim_mm.errors import InputError


def sincos_pos_embed(
    grid: tuple[int, int],
    embed_dims: int,
    extra_tokens: int = 1,
    temperature: float = 10000.0,
    row_first: bool = False,
) -> Tensor:
    """(rows, columns) -> (1, extra_tokens + rows * columns, embed_dims), float32.

    The extra tokens (CLS) come first and are zero; ``row_first`` is mmpretrain's axis order.
    Raises InputError unless 4 divides embed_dims.
    """
    if embed_dims % 4:
        raise InputError(
            f"embed_dims={embed_dims} can't carry a 2-D sin-cos position embedding, which needs a "
            "multiple of 4 (sine and cosine of two axes); choose another width."
        )
    rows, columns = grid
    # float64: the tables must not depend on the platform's float32 pow
    power = torch.arange(embed_dims // 4, dtype=torch.float64) * 4 / embed_dims
    frequency = temperature**-power
    row = torch.arange(rows, dtype=torch.float64)[:, None].expand(rows, columns)
    column = torch.arange(columns, dtype=torch.float64)[None].expand(rows, columns)
    parts = []
    for axis in (row, column) if row_first else (column, row):
        angle = axis.reshape(-1, 1) * frequency
        parts += [angle.sin(), angle.cos()]
    patches = torch.cat(parts, dim=1).float()
    cls = torch.zeros(extra_tokens, embed_dims)
    return torch.cat([cls, patches]).unsqueeze(0)


def regrow_sincos(table: Tensor, grid: tuple[int, int], new_grid: tuple[int, int]) -> Tensor | None:
    """(1, E + L, D) table of a grid -> the table of another, computed anew in its own axis order.

    None where the patches' rows are no sin-cos table: it was learned. The E extra rows stay.
    """
    extra, width = table.shape[1] - grid[0] * grid[1], table.shape[2]
    if width % 4:
        return None
    for row_first in (False, True):
        made = sincos_pos_embed(grid, width, 0, row_first=row_first)
        # half-precision files keep three digits
        if torch.allclose(made, table[:, extra:].float(), atol=2e-3, rtol=0):
            new = sincos_pos_embed(new_grid, width, 0, row_first=row_first).to(table.dtype)
            return torch.cat([table[:, :extra], new], dim=1)
    return None
