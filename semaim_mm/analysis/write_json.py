"""An analysis' numbers as a JSON file."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from semaim_mm.errors import InputError
from semaim_mm.report.result import replacing


def write_json(folder: Path, name: str, found: Any) -> Path:
    """Dicts of numbers, texts and dataclasses -> ``folder/name.json``; -> its path.

    Raises InputError where the folder can't be written to.
    """
    path = folder / f"{name}.json"
    text = json.dumps(found, indent=1, default=asdict, allow_nan=False)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with replacing(path) as temporary:
            temporary.write_text(text + "\n", encoding="utf-8")
    except OSError as error:
        raise InputError(
            f"{path} can't be written ({error}); name another folder with --out."
        ) from error
    return path
