"""What a run records of settings that were chosen by a sweep: its grid, not what came of it.

Tuned results of all methods share a protocol, whatever each chose, and never an untuned one's.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from semaim_mm.errors import InputError

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


def _mask(record: Any, path: list[str]) -> None:
    *way, last = path
    for name in way:
        record = record.get(name) if isinstance(record, dict) else None
    if isinstance(record, dict) and last in record:
        record[last] = "swept"
