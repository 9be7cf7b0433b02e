"""Writing a state dict: ``.pth`` or ``.safetensors`` by the suffix, whole or not at all."""

import json
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from semaim_mm.errors import InputError

META_KEY = "semaim_mm"
SUFFIXES = (".pth", ".pt", ".safetensors")


def check_out(source: str | Path, out: str | Path) -> Path:
    """-> ``out`` as a path. Raises InputError where it can't be meant as a new checkpoint."""
    out = Path(out)
    if out.suffix not in SUFFIXES:
        raise InputError(
            f"{out} ends in none of {', '.join(SUFFIXES)}, which say the format to write; name "
            "OUT so."
        )
    if out.is_dir():
        raise InputError(f"{out} is a folder; name a file in it.")
    if out.exists() and Path(source).exists() and os.path.samefile(source, out):
        raise InputError(f"{out} is the file to read; name another one to write.")
    return out


def write_checkpoint(path: Path, state: Mapping[str, Tensor], note: Mapping[str, Any]) -> None:
    """Write ``state``, and ``note`` (plain values) under META_KEY; a failure leaves no file.

    A ``.pth`` holds dict(state_dict=..., meta=...), as mmengine and the authors read it.
    """
    # own storage: a view would be saved with all that it looks into
    state = {
        key: value.detach().clone(memory_format=torch.contiguous_format)
        for key, value in state.items()
    }
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".safetensors":
            # save_file would leave a file that only its owner may read
            part.write_bytes(save(state, {"format": "pt", META_KEY: json.dumps(note)}))
        else:
            torch.save(dict(state_dict=state, meta={META_KEY: dict(note)}), part)
        with part.open("rb+") as file:
            os.fsync(file.fileno())
        os.replace(part, path)
    except (OSError, RuntimeError, SafetensorError) as error:
        reason = str(error).split("\n")[0]
        raise InputError(
            f"{path} could not be written ({reason}); nothing is left of it. Check the folder's "
            "permissions and the free space."
        ) from error
    finally:
        # after success it is gone; where the folder can't be entered it never was
        with suppress(OSError):
            part.unlink()


def read_meta(path: str | Path, content: Mapping[str, Any]) -> tuple[bool, dict[str, Any]]:
    """-> whether the file is safetensors, and its meta (ours under META_KEY), {} without one."""
    try:
        with safe_open(path, "pt") as file:
            note = (file.metadata() or {}).get(META_KEY)
            return True, {} if note is None else {META_KEY: json.loads(note)}
    except SafetensorError:
        meta = content.get("meta")
        return False, dict(meta) if isinstance(meta, Mapping) else {}
    except ValueError as error:
        raise InputError(f"The meta of {path} is broken ({error}); convert it again.") from error
