"""Ablations: a leaf and axes of it -> a method a cell, which differs from the leaf in its axis.

    base = "configs/pretrain/semaim_vitb.py"
    grid = dict(query_depth={n: {"model.neck.query_depth": n} for n in (1, 2)})

gives the methods ``base``, ``query_depth=1`` and ``query_depth=2``.
"""

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from semaim_mm.errors import InputError
from semaim_mm.runtime.launch import load_config
from semaim_mm.runtime.places import without_place

BASE = "base"  # the method that the cells are compared with


def expand_grid(base: str | None, grid: Any, path: str) -> dict[str, dict[str, Any]]:
    """A leaf and {axis: {value: {config key: value}}} -> {method: its config and options}.

    ``path`` is the suite's file, for messages. Without a grid there are no methods.

    Raises:
        InputError: one of the two is missing, an axis that is no dict of dicts, a leaf that is not
            there, a cell that equals the leaf or another cell, a key that the leaf has no part for.
    """
    if base is None and grid is None:
        return {}
    if base is None or grid is None:
        raise InputError(
            f"{path} has {'a grid and no base' if base is None else 'a base and no grid'}; base is "
            "the leaf that the grid's cells differ from, so give both."
        )
    if not Path(base).is_file():
        raise InputError(f"{path} names the base {base}, which is not there.")
    cells = _cells(grid, path)
    _check_cells(base, cells, path)
    return {BASE: dict(config=base)} | {
        name: dict(config=base, options=options) for name, options in cells.items()
    }


def _cells(grid: Any, path: str) -> dict[str, dict[str, Any]]:
    if not isinstance(grid, Mapping) or not grid:
        raise InputError(
            f"{path}: grid={grid!r} must be {{axis: {{value: {{config key: value}}}}}}."
        )
    found = {}
    for axis, values in grid.items():
        if not isinstance(values, Mapping) or not values:
            raise InputError(
                f"{path}: the axis {axis} must be {{value: {{config key: value}}}}, not {values!r}."
            )
        for value, options in values.items():
            if not isinstance(options, Mapping):
                raise InputError(
                    f"{path}: {axis}={value} must be {{config key: value}}, not {options!r}."
                )
            found[f"{axis}={value}"] = dict(options)
    return found


def _check_cells(base: str, cells: Mapping[str, Mapping[str, Any]], path: str) -> None:
    """Every cell is an experiment of its own, as far as its config tells."""
    cfg = load_config(base)
    leaf = cfg.to_dict()
    seen = [("the base", leaf)]
    for name, options in cells.items():
        absent = without_place(leaf, options)
        if absent:
            raise InputError(
                f"{path}: {name} sets {', '.join(absent)}, and {base} has no part that would take "
                "it; mend the key."
            )
        changed = copy.deepcopy(cfg)
        changed.merge_from_dict(options)
        changed = changed.to_dict()
        for other, known in seen:
            if changed == known:
                raise InputError(
                    f"{path}: {name} is the same experiment as {other}; leave one of them out."
                )
        seen.append((name, changed))
