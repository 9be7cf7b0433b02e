"""What a run records of settings that were chosen by a sweep: its grid, not what came of it.

Tuned results of all methods share a protocol, whatever each chose, and never an untuned one's.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from semaim_mm.errors import InputError

# what a sweep may set: all else would part the fingerprints of methods that chose differently
SWEPT = ("base_lr", "total_batch", "optim_wrapper.", "param_scheduler.", "train_cfg.", "model.")
# what else follows from a setting
FOLLOWS = {"base_lr": ("optim_wrapper.optimizer.lr",)}


def read_choice(path: str | None) -> dict[str, Any] | None:
    """``cfg.tuned``, a file that a sweep wrote -> its content; None without one.

    Raises:
        InputError: no such file, or one that no sweep wrote.
    """
    if path is None:
        return None
    try:
        found = json.loads(Path(path).read_text())
        return {key: found[key] for key in ("grid", "share", "metric", "trials", "chosen")}
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise InputError(
            f"tuned={path} is no file that a sweep wrote ({type(error).__name__}: {error}); leave "
            "the key to tools/transfer.py."
        ) from error


def mask_swept(recipe: dict[str, Any], choice: Mapping[str, Any]) -> dict[str, Any]:
    """A training's record -> the same with the grid in place of what was chosen from it."""
    for key in choice["grid"]:
        for place in (key, *FOLLOWS.get(key, ())):
            _mask(recipe, place.removeprefix("model.").split("."))
    return recipe | {"tuned": {key: choice[key] for key in ("grid", "share", "metric")}}


def mask_model(model: dict[str, Any], choice: Mapping[str, Any]) -> dict[str, Any]:
    """A model's dict -> the same, in place, with 'swept' for what was chosen of it."""
    for key in choice["grid"]:
        if key.startswith("model."):
            _mask(model, key.split(".")[1:])
    return model


def _mask(record: Any, path: list[str]) -> None:
    *way, last = path
    for name in way:
        record = _part(record, name)
    if _part(record, last) is not None:
        record[int(last) if isinstance(record, list) else last] = "swept"


def _part(record: Any, name: str) -> Any:
    if isinstance(record, list):
        return record[int(name)] if name.isdigit() and int(name) < len(record) else None
    return record.get(name) if isinstance(record, dict) else None
