"""Features that a teacher gave once, read from files: for training on crops that never change.

``tools/cache_teacher.py`` writes them. Legend: B images, L patches, D the teacher's token width.
"""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from mmengine.model import BaseModule
from mmpretrain.registry import MODELS
from torch import Tensor

from semaim_mm.errors import InputError
from semaim_mm.pretrain.targets.base import STUDENT, Student, Target, build_target
from semaim_mm.pretrain.targets.feature_shards import FeatureShards, read_index
from semaim_mm.runtime.record import plain

UNLIKE = ("weights", "labels")  # of a teacher's record: a file's name, what taught it
MARKS = 4  # numbers that stand for an image's pixels


def marks_of(imgs: Tensor) -> Tensor:
    """(B, 3, H, W) -> (B, MARKS) float32: random sums of the pixels, which tell images apart."""
    flat = imgs.float().flatten(1)
    with torch.autocast(imgs.device.type, enabled=False):
        return flat @ _weights(flat.shape[1]).to(imgs.device) / flat.shape[1] ** 0.5


@lru_cache(maxsize=4)
def _weights(length: int) -> Tensor:
    return torch.randn(length, MARKS, generator=torch.Generator().manual_seed(0))


@MODELS.register_module()
class CachedTarget(BaseModule):
    """A frozen teacher's tokens by sample id; the teacher itself only where images have no id.

    Images without an id are those of validation; the teacher's weights are loaded at the first of
    them. A training image is compared with the one that the teacher saw, by ``MARKS`` sums of its
    pixels; when shards are checked says ``feature_shards.py``.

    Args:
        teacher: config of the teacher; its weights' SHA-256 must be the cache's, their file may
            have another name, or be absent where no image without an id is met.
        folder: what ``tools/cache_teacher.py`` wrote.
        student: what the teacher takes from the model; SemAIM says it.

    Raises:
        InputError: no cache, one of another teacher or grid, a shard that is missing or was
            changed, an image that is not the one cached: crops that are not fixed, or other data.
    """

    gives_tokens = True
    keyed = True  # forward takes the samples' ids

    def __init__(self, teacher: dict, folder: str | Path, student: Student = STUDENT):
        super().__init__()
        self.teacher = build_target(teacher, student)
        if not hasattr(self.teacher, "record"):
            raise InputError(
                f"CachedTarget: {type(self.teacher).__name__} is no frozen teacher, so its "
                "features change; name a TimmTeacher, CLIPTeacher or ConvTeacher."
            )
        self.folder = Path(folder)
        self.out_dims, self.patch_size = self.teacher.out_dims, self.teacher.patch_size
        self._shards: FeatureShards | None = None

    @classmethod
    def defaults(cls, student: Student) -> dict[str, Any]:
        return dict(student=student)

    def init_weights(self) -> None:
        self.open()
        self._is_init = True

    def open(self) -> FeatureShards:
        """-> the features, whose teacher, grid and files' sizes are checked at the first call."""
        if self._shards is not None:
            return self._shards
        index = read_index(self.folder)
        self._check(index)
        self._shards = FeatureShards(self.folder, index)
        return self._shards

    def _check(self, index: Mapping[str, Any]) -> None:
        weights = getattr(self.teacher, "weights", None)
        if weights is not None and not Path(weights).is_file():
            # held against the file, should it be there when an image without an id comes
            self.teacher.digest = index["teacher"]["sha256"]
        mine = plain(self.teacher.record())  # the index is JSON, which has no tuples
        told = [key for key in mine if key not in UNLIKE]
        other = [key for key in told if index["teacher"].get(key) != mine[key]]
        if other:
            key = other[0]
            raise InputError(
                f"The features in {self.folder} are of another teacher: {key} is "
                f"{index['teacher'].get(key)!r} there, {mine[key]!r} here. Write them anew by "
                "tools/cache_teacher.py."
            )
        # caches of before this was written are told by their tokens, in forward
        if index.get("patch_size", self.patch_size) != self.patch_size:
            raise self._other_grid(
                f"patches of {index['patch_size']} pixels", f"patches of {self.patch_size}"
            )

    def mean(self) -> Tensor:
        """-> (1, L, D) float32: the mean values of all images that were cached."""
        return self.open().mean()[None, 1:]

    def forward(self, imgs: Tensor, ids: Sequence[int] | None = None) -> Target:
        """(B, 3, H, W), the samples' ids -> values (B, L, D), float32, without gradient."""
        if ids is None:
            return self.teacher(imgs)
        shards = self.open()
        count = shards.index["count"]
        strangers = [number for number in ids if number >= count]
        if strangers:
            raise InputError(
                f"Sample {strangers[0]} is not among the {count} whose features are in "
                f"{self.folder}: they are of other data. Write them anew by tools/cache_teacher.py."
            )
        tokens, marks = shards.rows(ids)
        self._compare(imgs, ids, marks)
        found, wanted = tokens.shape[1] - 1, self._length(imgs)
        if found != wanted:
            raise self._other_grid(f"{found} patches an image", f"{wanted} patches")
        tokens = tokens.to(imgs.device, non_blocking=True).float()
        return Target(tokens[:, 1:], tokens)

    def _length(self, imgs: Tensor) -> int:
        return (imgs.shape[2] // self.patch_size) * (imgs.shape[3] // self.patch_size)

    def _other_grid(self, there: str, here: str) -> InputError:
        return InputError(
            f"The features in {self.folder} are of another grid: of {there}, and the student has "
            f"{here}. Write them anew by tools/cache_teacher.py, or set model.backbone.patch_size "
            "and img_size as they were."
        )

    def _compare(self, imgs: Tensor, ids: Sequence[int], known: Tensor) -> None:
        found = marks_of(imgs).cpu()
        far = ((found - known).abs() > 1e-2 * (1 + known.abs())).any(dim=1)
        if far.any():
            number = ids[int(far.nonzero()[0])]
            raise InputError(
                f"Image {number} is not the one whose features are in {self.folder} "
                f"({int(far.sum())} of {len(imgs)} in this step differ): the crops are not fixed, "
                "or the data are others. Take random crops and flips out of the pipeline, or a "
                "live teacher."
            )
