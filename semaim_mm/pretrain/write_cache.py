"""Running a teacher once over fixed crops, and keeping its tokens: sharded safetensors, an index.

Legend: B images, L patches, D the teacher's token width.
"""

import json
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.dataset import default_collate
from mmengine.registry import DATASETS, init_default_scope
from mmpretrain.registry import MODELS
from torch import Tensor

from semaim_mm.data.held_out import innermost
from semaim_mm.data.keyed import KeyedDataset, SampleKey
from semaim_mm.data.prepare.manifest import data_record
from semaim_mm.errors import InputError
from semaim_mm.pretrain.targets.cached import CachedTarget, marks_of
from semaim_mm.pretrain.targets.feature_shards import INDEX, write_mean, write_shard
from semaim_mm.report.result import replacing
from semaim_mm.runtime.spread import spread_keys

DTYPES = dict(float16=torch.float16, bfloat16=torch.bfloat16, float32=torch.float32)
LOOKED_AT_TWICE = 8  # images whose crops are drawn again, to see whether they are fixed


@torch.no_grad()
def write_cache(
    cfg: Config, dtype: str = "float16", shard_size: int = 1024, batch_size: int = 64
) -> tuple[dict[str, Any], Path]:
    """A leaf with a CachedTarget -> its teacher's tokens of every training image, in its folder.

    Returns the index (the teacher's record, the data's, ``count`` images, shards and the mean with
    SHA-256s) and the folder. The index is written last, so a cache that was cut off is none.

    Raises:
        InputError: no CachedTarget, or several, crops that are not fixed, an unknown ``dtype``.
    """
    if dtype not in DTYPES:
        raise InputError(f"dtype={dtype} is none of {', '.join(DTYPES)}; choose one.")
    init_default_scope(cfg.default_scope)
    spread_keys(cfg)
    model = MODELS.build(cfg.model)
    target = cached_target(model)
    images = Images(cfg, model.data_preprocessor)
    images.check_fixed()
    target.folder.mkdir(parents=True, exist_ok=True)
    (target.folder / INDEX).unlink(missing_ok=True)
    shards, total = [], 0
    for start in range(0, len(images), shard_size):
        stop, parts = min(start + shard_size, len(images)), []
        for first in range(start, stop, batch_size):
            imgs = images.batch(range(first, min(first + batch_size, stop)))
            parts.append(
                (target.teacher(imgs).tokens.to(DTYPES[dtype]).cpu(), marks_of(imgs).cpu())
            )
        tokens, marks = (torch.cat(each) for each in zip(*parts, strict=True))
        path = target.folder / f"{start // shard_size:05d}.safetensors"
        shards.append(write_shard(path, tokens, marks))
        total = total + tokens.sum(dim=0, dtype=torch.float64)
    index = dict(
        teacher=target.teacher.record(),
        data=data_record(innermost(cfg.train_dataloader.dataset)),
        count=len(images),
        patch_size=target.patch_size,
        dtype=dtype,
        shard_size=shard_size,
        shards=shards,
        mean=write_mean(target.folder, total, len(images)),
    )
    with replacing(target.folder / INDEX) as temporary:
        temporary.write_text(json.dumps(index, indent=1) + "\n")
    return index, target.folder


def verify_cache(cfg: Config) -> tuple[dict[str, Any], Path]:
    """Hash every file of a leaf's cache; -> its index and folder.

    Raises InputError where one is missing or was changed, or the features are of another teacher.
    """
    init_default_scope(cfg.default_scope)
    target = cached_target(MODELS.build(cfg.model))
    shards = target.open()
    shards.verify()
    return dict(shards.index), target.folder


def cached_target(model: torch.nn.Module) -> CachedTarget:
    """-> the model's CachedTarget, which may stand in a MultiTarget; InputError unless it is one.

    A model that predicts something else may have no target generator at all.
    """
    generator = getattr(model, "target_generator", None)
    modules = () if generator is None else generator.modules()
    found = [module for module in modules if isinstance(module, CachedTarget)]
    if len(found) == 1:
        return found[0]
    raise InputError(
        f"The target of this config, {type(generator).__name__}, has {len(found)} CachedTargets; a "
        "cache is written for a leaf with one, which names teacher and folder."
    )


class Images:
    """The training set as the model sees it, by sample id."""

    def __init__(self, cfg: Config, preprocessor: torch.nn.Module):
        found = DATASETS.build(cfg.train_dataloader.dataset)
        self.dataset = found if isinstance(found, KeyedDataset) else KeyedDataset(found)
        accelerated = torch.accelerator.is_available()
        self.device = (
            torch.accelerator.current_accelerator() if accelerated else torch.device("cpu")
        )
        self.preprocessor = preprocessor.to(self.device)

    def __len__(self) -> int:
        return len(self.dataset)

    def batch(self, ids: range, epoch: int = 0) -> Tensor:
        """Sample ids -> (B, 3, H, W), normalised, on the device, as in that epoch."""
        items = [self.dataset[SampleKey(0, epoch, number)] for number in ids]
        return self.preprocessor(default_collate(items), True)["inputs"]

    def check_fixed(self) -> None:
        ids = range(min(LOOKED_AT_TWICE, len(self)))
        if not torch.equal(self.batch(ids, 0), self.batch(ids, 1)):
            raise InputError(
                "The training pipeline gives another crop of an image in every epoch, so features "
                "can't be kept; take random crops and flips out of it, or use a live teacher."
            )
