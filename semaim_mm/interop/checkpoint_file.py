"""Reading a checkpoint file of any origin: the state dict inside, and nothing executed.

Files are read with ``weights_only=True`` or as safetensors. mmengine's own checkpoints also hold
its log buffers; those types are allowed by name, anything else is refused.
"""

import argparse
import hashlib
import pickle
import re
import struct
from collections.abc import Mapping
from pathlib import Path
from types import NoneType
from typing import Any

import numpy as np
import torch
from mmengine.logging import HistoryBuffer
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from semaim_mm.errors import InputError
from semaim_mm.interop.digest import check_digest
from semaim_mm.interop.torchscript_file import read_torchscript, torchscript_folder

CONTAINERS = ("state_dict", "model", "module", "teacher", "student")


# what torch's restricted unpickler stumbles over in a file with flipped bytes
_OF_DAMAGED_PICKLES = (
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    AssertionError,
    MemoryError,
    struct.error,
)
METHODS = ("min", "max", "mean", "current")


def _history_method(owner: Any, name: str) -> Any:
    """Stands in for ``getattr``, by which HistoryBuffer's four methods are pickled: only for them.

    The real one would let a file walk from any object to anything that runs code.
    """
    if owner is not HistoryBuffer or name not in METHODS:
        raise pickle.UnpicklingError(f"getattr of {name!r} on something that is no log buffer")
    return getattr(HistoryBuffer, name)


def _allowed_globals() -> list:
    """Plain data that checkpoints hold beside tensors: log buffers, parsed arguments."""
    scalars = [np.dtype(kind) for kind in ("float64", "float32", "int64", "bool")]
    return [
        argparse.Namespace,
        HistoryBuffer,
        *(getattr(HistoryBuffer, name) for name in METHODS),
        (_history_method, "builtins.getattr"),
        np._core.multiarray._reconstruct,
        np._core.multiarray.scalar,
        np.ndarray,
        np.dtype,
        *{type(scalar) for scalar in scalars},
    ]


def read_file(path: str | Path, map_location: str = "cpu", lazily: bool = False) -> dict:
    """A ``.pth``/``.pt``/``.safetensors`` file -> what it holds, without running any of it.

    ``lazily`` maps tensors into memory unread, for what stands beside them; the digest that one of
    our checkpoints states is then not checked. Of a TorchScript archive that is its state dict, on
    the CPU. Raises InputError where the file is absent, cut short, not what its digest says, or
    wants to execute code.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"There is no checkpoint file at {path}; check the path.")
    try:
        if not lazily:
            check_digest(path)
    except OSError as error:
        raise InputError(f"{path} can't be read ({error.strerror}); check the disk.") from error
    try:
        with path.open("rb") as file:
            is_torch = file.read(2) in (b"PK", b"\x80\x02")
        if not is_torch:
            return load_file(path, device=map_location)
        folder = torchscript_folder(path)
        if folder is not None:
            return read_torchscript(path, folder)
        with torch.serialization.safe_globals(_allowed_globals()):
            content = torch.load(
                path, map_location=map_location, weights_only=True, mmap=lazily or None
            )
    except InputError:  # of a TorchScript archive, with its reason
        raise
    except pickle.UnpicklingError as error:
        reason = _reason(error)
        raise InputError(
            f"{path} holds more than tensors and plain values ({reason}), which could run code; "
            "it was not read. Where you trust its origin, load it once with torch.load(path, "
            "weights_only=False) in an isolated environment and save its state dict alone."
        ) from error
    except (RuntimeError, EOFError, OSError, SafetensorError, *_OF_DAMAGED_PICKLES) as error:
        reason = _reason(error)
        raise InputError(
            f"{path} is not a readable checkpoint ({reason}); it may be cut short: copy or "
            "download it again."
        ) from error
    if not isinstance(content, dict):
        raise InputError(
            f"{path} holds no state dict but a {type(content).__name__}; not weights by name."
        )
    meta = content.get("meta")
    if not isinstance(meta, dict | NoneType):
        raise InputError(
            f"{path} has a meta that is a {type(meta).__name__}, not a dict, so no training wrote "
            "it; give another checkpoint."
        )
    return content


def _reason(error: Exception) -> str:
    """The telling line of a loader's error, without its colours and its advice."""
    text = re.sub(r"\x1b\[[0-9;]*m", "", str(error))
    told = re.search(r"(GLOBAL [\w.]+|getattr of '\w+')", text)
    return f"it asks for {told[1]}" if told else text.split("\n")[0].removesuffix(".")


def state_dict_of(content: Mapping, origin: str | Path) -> dict[str, Tensor]:
    """What a file holds -> its state dict, ``module.`` stripped. Raises InputError if none."""
    for name in CONTAINERS:
        if isinstance(content.get(name), Mapping):
            content = content[name]
            break
    state = {str(key).removeprefix("module."): value for key, value in content.items()}
    if len(state) < len(content):
        raise InputError(
            f"{origin} holds some weights twice, with and without 'module.' before their names; "
            "save one state dict."
        )
    if not state or not all(isinstance(value, Tensor) for value in state.values()):
        raise InputError(
            f"{origin} holds no state dict: expected tensors by name, at the top or under "
            f"{', '.join(CONTAINERS)}, but found {', '.join(list(map(str, content))[:5])}."
        )
    return state


def read_state_dict(path: str | Path) -> dict[str, Tensor]:
    """A checkpoint file -> its state dict on the CPU, ``module.`` stripped."""
    return state_dict_of(read_file(path), path)


def sha256_of(path: str | Path) -> str:
    """-> the file's SHA-256 in hex, read in pieces."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
