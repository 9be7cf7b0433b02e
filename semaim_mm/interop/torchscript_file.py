"""The weights of a TorchScript archive, such as OpenAI's CLIP files, without running its code.

``torch.jit.load`` compiles and may run what the archive holds. Its weights lie in a pickle of
nested modules; here that pickle is read with three known names, every module a bare holder.
"""

import io
import pickle
import zipfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from semaim_mm.errors import InputError
from semaim_mm.layers import widen

_DTYPES = {
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "DoubleStorage": torch.float64,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}


class _Holder:
    """Stands in for every module of the archive: its attributes and nothing else."""

    def __setstate__(self, state: Any) -> None:
        self.held = state


def _plain(value: Any = None, *rest: Any) -> Any:
    """Stands in for the constructors of typed lists and tuples."""
    return value


def _tensor(storage: Tensor, offset: int, size: tuple, stride: tuple, *rest: Any) -> Tensor:
    reach = offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True))
    if offset < 0 or any(n < 0 for n in (*size, *stride)) or reach >= max(len(storage), 1):
        raise pickle.UnpicklingError("a tensor reaches beyond its storage")
    return torch.as_strided(storage, size, stride, offset).clone()


class _Unpickler(pickle.Unpickler):
    def __init__(self, archive: zipfile.ZipFile, folder: str):
        super().__init__(io.BytesIO(archive.read(f"{folder}data.pkl")))
        self.archive, self.folder, self.storages = archive, folder, {}

    def find_class(self, module: str, name: str) -> Any:
        if module == "__torch__" or module.startswith("__torch__."):
            return _Holder
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _tensor
        if (module, name) == ("collections", "OrderedDict"):
            return dict
        if module == "torch.jit._pickle":
            return _plain
        if module == "torch" and name in _DTYPES:
            return _DTYPES[name]
        raise pickle.UnpicklingError(f"GLOBAL {module}.{name}")

    def persistent_load(self, pid: tuple) -> Tensor:
        _, dtype, key, *_ = pid
        if key not in self.storages:
            data = bytearray(self.archive.read(f"{self.folder}data/{key}"))
            empty = torch.empty(0, dtype=dtype)
            self.storages[key] = torch.frombuffer(data, dtype=dtype) if data else empty
        return self.storages[key]


def torchscript_folder(path: Path) -> str | None:
    """-> the folder inside a TorchScript archive, None where the file is none."""
    if not zipfile.is_zipfile(path):
        return None
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
    pickles = [name for name in names if name.endswith("/data.pkl") and name.count("/") == 1]
    folders = [name.removesuffix("data.pkl") for name in pickles]
    return next((folder for folder in folders if f"{folder}constants.pkl" in names), None)


def read_torchscript(path: Path, folder: str) -> dict[str, Tensor]:
    """A TorchScript archive -> its state dict on the CPU; floats of half precision widened.

    Raises InputError where the archive is damaged or names something unknown.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            root = _Unpickler(archive, folder).load()
    except (pickle.UnpicklingError, zipfile.BadZipFile, KeyError, EOFError, ValueError) as error:
        raise InputError(
            f"{path} is a TorchScript archive that can't be read without running it ({error}); "
            "save its state dict alone, in an isolated environment where you trust its origin."
        ) from error
    state: dict[str, Tensor] = {}
    _collect(root, "", state)
    return {key: widen(v) if v.is_floating_point() else v for key, v in state.items()}


def _collect(module: Any, prefix: str, state: dict[str, Tensor]) -> None:
    held = getattr(module, "held", None)
    for name, value in held.items() if isinstance(held, dict) else ():
        if isinstance(value, Tensor):
            state[f"{prefix}{name}"] = value
        elif isinstance(value, _Holder):
            _collect(value, f"{prefix}{name}.", state)
