"""A checkpoint's relative-position tables on the areas that a backbone's blocks attend to.

Legend: H heads, d a head's width. BEiT's table is one of every block, 'shared' ones lie beside the
blocks (``rel_pos_shared.whole``, ``.window``), decomposed ones hold a vector for every offset of
rows and of columns (``rel_pos.py``).
"""

from torch import Tensor, nn

from semaim_mm.errors import InputError
from semaim_mm.interop.renaming import TABLE
from semaim_mm.rel_pos import CLS_ROWS, resize_table, resize_vectors, table_rows


def fit_tables(backbone: nn.Module, state: dict[str, Tensor], grid: tuple[int, int]) -> list[str]:
    """Interpolate tables in place where the backbone has them for another area -> what was changed.

    Args:
        state: weights in our names; a table that the backbone has no place for stays as it is.
        grid: rows and columns of patches of the file's position table.

    Raises:
        InputError: a shared table whose length is of no known grid.
    """
    before = {key: len(value) for key, value in state.items()}
    for number, layer in enumerate(backbone.layers):
        stem, attn = f"layers.{number}.attn.", layer.attn
        if stem + TABLE in state and attn.rel_pos_window is not None:
            table = state[stem + TABLE]
            if not attn.cls and len(table) == table_rows(grid):
                table = table[:-CLS_ROWS]
            state[stem + TABLE] = resize_table(table, grid, attn.rel_pos_window)
        for name in ("rel_pos_h", "rel_pos_w"):
            own = getattr(attn, name)
            if stem + name in state and own is not None:
                state[stem + name] = resize_vectors(state[stem + name], len(own))
    _fit_shared(backbone, state, grid)
    resized = [key for key, length in before.items() if len(state[key]) != length]
    return [f"{len(resized)} relative-position tables interpolated"] if resized else []


def _fit_shared(backbone: nn.Module, state: dict[str, Tensor], grid: tuple[int, int]) -> None:
    side, whole = backbone.windows.size, backbone.windows.map_size
    areas = dict(whole=whole, window=(side, side))
    for kind in backbone.rel_pos_shared or {}:
        key = f"rel_pos_shared.{kind}"
        if key in state:
            # a window is square; a whole map is rather the file's own than the backbone's
            guesses = (grid, whole) if kind == "whole" else ()
            made = _area_of(key, state[key], guesses)
            state[key] = resize_table(state[key], made, areas[kind])


def _area_of(key: str, table: Tensor, guesses: tuple[tuple[int, int], ...]) -> tuple[int, int]:
    side = (round(len(table) ** 0.5) + 1) // 2
    for area in (*guesses, (side, side)):
        if table_rows(area, cls=False) == len(table):
            return area
    raise InputError(
        f"{key} has {len(table)} rows, which neither a square map nor the checkpoint's own grid "
        "has; say grid=(rows, columns) of the map that it was trained on. Nothing was loaded."
    )
