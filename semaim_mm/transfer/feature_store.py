"""Features of a data set in mapped files: each process writes its images, all read what they need.

A mapped file takes no memory but the system's page cache, which is given back under pressure.
Legend: N images of a data set, n of them in a file, W processes, D feature width, L patches.
"""

import json
import math
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import torch
from mmengine.dist import barrier, get_rank, get_world_size
from mmengine.logging import print_log
from torch import Tensor

from semaim_mm.errors import InputError

DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
GIB = 2**30


class RecordFile:
    """One record an image, its features side by side, so that a batch is one read an image.

    Process r of W sees images r, r + W, ...; its records lie together, in this order.

    Args:
        shapes: of each feature of one image, {'layer11.cls': (D,)} or {'...': (L, D)}.
        dtype: name of what is stored, a key of DTYPES.
        images: (n,) numbers of the images that the file keeps, ascending.
        size: N, images of the whole data set.
    """

    def __init__(
        self, path: Path, shapes: Mapping[str, Sequence[int]], dtype: str, images: Tensor, size: int
    ):
        self.path, self.dtype, self.images, self.size = path, DTYPES[dtype], images, size
        self.shapes = {name: tuple(shape) for name, shape in shapes.items()}
        self.width = sum(math.prod(shape) for shape in self.shapes.values())
        self.nbytes = len(images) * self.width * self.dtype.itemsize
        owner = images % get_world_size()
        self.row = torch.full((size,), -1)
        self.row[images[owner.argsort(stable=True)]] = torch.arange(len(images))
        self._begin = int((owner < get_rank()).sum())
        self._handle = self._records = None

    def create(self) -> None:
        """Make the file, then let every process open it at its own place."""
        if get_rank() == 0:
            with self.path.open("wb") as handle:
                handle.truncate(self.nbytes)
        barrier()
        self._handle = self.path.open("r+b")
        self._handle.seek(self._begin * self.width * self.dtype.itemsize)

    def write(self, parts: Mapping[str, Tensor], numbers: Tensor) -> None:
        """Append {name: (B, ...)} of images ``numbers`` (B,); those not kept are passed over.

        Raises InputError for values that the stored dtype can't hold.
        """
        kept = self.row[numbers] >= 0
        if not kept.any():
            return
        chosen = [parts[name][kept.to(parts[name].device)].flatten(1) for name in self.shapes]
        record = torch.cat(chosen, dim=1).to(self.dtype).cpu()
        if not record.isfinite().all():
            raise InputError(
                f"Some features of a batch are larger than {self.dtype} can hold; set "
                "test_cfg.storage='bfloat16' or 'float32'."
            )
        self._handle.write(record.view(torch.uint8).numpy())

    def finish(self) -> None:
        """Wait for all processes, then map the whole file for reading."""
        self._handle.flush()
        os.fsync(self._handle.fileno())
        self._handle.close()
        barrier()
        if not self.path.is_file() or self.path.stat().st_size != self.nbytes:
            raise InputError(
                f"Process {get_rank()} does not see all of {self.path}; set test_cfg.cache_dir to "
                "a folder that all machines share."
            )
        count = len(self.images) * self.width
        mapped = torch.from_file(str(self.path), shared=False, size=count, dtype=self.dtype)
        self._records = mapped.view(-1, self.width)

    def column(self, name: str) -> Tensor:
        """-> (n, ...) view of one feature, in the file's order."""
        names = list(self.shapes)
        start = sum(math.prod(self.shapes[n]) for n in names[: names.index(name)])
        width = math.prod(self.shapes[name])
        return self._records[:, start : start + width]

    def close(self) -> None:
        """Let go of the mapping, so that the file can be removed."""
        if self._handle is not None:
            self._handle.close()
        self._records = None

    def layout(self) -> dict:
        """-> what a reader of a kept file must know."""
        return dict(
            file=self.path.name,
            dtype=str(self.dtype),
            shapes=self.shapes,
            processes=get_world_size(),
            n_images=len(self.images),
        )


class FeatureTable:
    """(N, D) or (N, L, D) features, read by image number; several parts are put side by side.

    ``table[index]`` copies the images of ``index`` (on the CPU, as stored); nothing else is held.
    ``images`` (n,) are those that a table of a share has; None where it has all.
    """

    def __init__(self, file: RecordFile, parts: Sequence[str]):
        self._file, self._parts = file, tuple(parts)
        self.images = None if len(file.images) == file.size else file.images
        *rest, _ = file.shapes[parts[0]]
        self.shape = (file.size, *rest, sum(file.shapes[name][-1] for name in parts))
        self.ndim, self.dtype = len(self.shape), file.dtype

    def __len__(self) -> int:
        return self._file.size

    def __getitem__(self, index: Tensor | slice) -> Tensor:
        rows = self._file.row[index]
        if (rows < 0).any():
            raise IndexError("a table of a share was asked for an image that it does not have")
        read = [
            self._file.column(name)[rows].unflatten(1, self._file.shapes[name])
            for name in self._parts
        ]
        return read[0] if len(read) == 1 else torch.cat(read, dim=-1)

    def to(self, device: torch.device) -> Tensor:
        """-> the whole table in memory, float32."""
        return self[slice(None) if self.images is None else self.images].to(device, torch.float32)


class FeatureStore:
    """The feature files of one evaluation in a folder, removed when it ends.

    Args:
        folder: seen by all processes; ``work_dir/features`` unless the config's ``cache_dir``.
        storage: 'float32', 'float16' (11 significant bits: a relative error up to 2^-11, 0.0005),
            'bfloat16' (2^-8), or 'auto': float32 where the data sets take up to ``float32_gib``
            in it, else float16. Patch tokens are never float32.
        float32_gib: see ``storage``, GiB.
        keep: leave the files, with ``layout.json`` beside them.
    """

    def __init__(
        self,
        folder: str | Path,
        storage: str = "auto",
        float32_gib: float = 8.0,
        keep: bool = False,
    ):
        if storage not in ("auto", *DTYPES):
            raise InputError(
                f"Features can't be stored as {storage!r}; set test_cfg.storage to one of "
                f"{', '.join(('auto', *DTYPES))}."
            )
        self.folder, self.storage, self.keep = Path(folder), storage, keep
        self.float32_gib, self.files = float32_gib, {}

    def plan(
        self,
        shapes: Mapping[str, Sequence[int]],
        images: Mapping[str, int],
        shares: Mapping[str, Tensor] | None = None,
        max_token_gib: float = math.inf,
    ) -> int:
        """Lay the files out, nothing written yet -> bytes on disk, which must be free.

        Args:
            shapes: of one image's features, by name.
            images: {data set: N}.
            shares: {data set: (n,) images whose patch tokens are kept}; all, where not named.
            max_token_gib: most that one data set's patch tokens may take.

        Raises InputError where the disk or ``max_token_gib`` is too small.
        """
        pooled = {name: shape for name, shape in shapes.items() if len(shape) == 1}
        tokens = {name: shape for name, shape in shapes.items() if len(shape) == 2}
        numbers = sum(shape[0] for shape in pooled.values()) * sum(images.values())
        if self.storage == "auto":
            self.storage = "float32" if 4 * numbers <= self.float32_gib * GIB else "float16"
        token_storage = "float16" if self.storage == "float32" else self.storage
        for split, size in images.items():
            everything = torch.arange(size)
            kept = (shares or {}).get(split, everything)
            self.files[split] = [
                RecordFile(self.folder / f"{split}.{kind}.bin", part, dtype, which, size)
                for kind, part, dtype, which in (
                    ("pooled", pooled, self.storage, everything),
                    ("tokens", tokens, token_storage, kept),
                )
                if part
            ]
            _check_tokens(self.files[split], max_token_gib)
        return self._check_disk()

    def _check_disk(self) -> int:
        needed = sum(file.nbytes for files in self.files.values() for file in files)
        self.folder.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(self.folder).free
        # files that a stopped run left there are written over
        free += sum(
            file.path.stat().st_blocks * 512
            for files in self.files.values()
            for file in files
            if file.path.is_file()
        )
        if needed > free:
            raise InputError(
                f"The features need {needed / GIB:.1f} GiB on disk, but {self.folder} has "
                f"{free / GIB:.1f} GiB free; set test_cfg.cache_dir to a larger disk, read fewer "
                "layers or poolings, or take a subset of the training set."
            )
        # all processes have looked before any of them fills the disk
        barrier()
        print_log(
            f"features: {needed / GIB:.2f} GiB on disk in {self.folder} as {self.storage}",
            logger="current",
        )
        return needed

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        files = [file for group in self.files.values() for file in group]
        for file in files:
            file.close()
        if error is None:
            barrier()
        if get_rank() != 0:
            return
        if self.keep and error is None:
            layout = {split: [f.layout() for f in group] for split, group in self.files.items()}
            (self.folder / "layout.json").write_text(json.dumps(layout, indent=1))
            return
        for file in files:
            file.path.unlink(missing_ok=True)
        if self.folder.is_dir() and not any(self.folder.iterdir()):
            self.folder.rmdir()


def _check_tokens(files: Sequence[RecordFile], limit: float) -> None:
    needed = sum(file.nbytes for file in files if file.path.name.endswith(".tokens.bin")) / GIB
    if needed > limit:
        raise InputError(
            f"Attentive pooling would keep {needed:.1f} GiB of patch tokens for "
            f"{len(files[-1].images)} images, more than max_token_gib={limit:g}; read fewer layers "
            "(attentive_layers), lower attentive_share, take a subset of the training set, raise "
            "the limit, or leave 'attentive' out of poolings."
        )
