"""Samples whose augmentation depends on (seed, epoch, sample id), never on rank or worker.

KeyedSampler yields keys; KeyedDataset runs the wrapped data set's pipeline under random states
seeded by the key, and writes the key into the sample, so that the model can draw from it too.
"""

import os
import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
import torch
from mmengine.dist import get_dist_info, sync_random_seed
from mmengine.registry import DATA_SAMPLERS, DATASETS
from torch.utils.data import Dataset, Sampler

from semaim_mm.errors import InputError, UnreadableImageError


class SampleKey(NamedTuple):
    """What all randomness of a sample is a function of."""

    seed: int
    epoch: int
    sample: int


@contextmanager
def seeded(*key: int) -> Iterator[None]:
    """Seed ``random``, numpy and torch's CPU generator from ``key`` inside; restore them after."""
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()
    numbers = np.random.SeedSequence(key).generate_state(3)
    random.seed(int(numbers[0]))
    np.random.seed(numbers[1])
    torch.default_generator.manual_seed(int(numbers[2]))
    try:
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])
        torch.set_rng_state(states[2])


@DATASETS.register_module()
class KeyedDataset(Dataset):
    """Wraps any OpenMMLab data set; its items are asked for by SampleKey (or by plain index).

    Args:
        dataset: config of the wrapped data set, or the data set itself.
        skip_unreadable: False stops at an image that can't be decoded. True takes the next one in
            its place and writes the path into the sample's ``unreadable``, for SkippedImagesHook
            to count against its budget.
    """

    def __init__(self, dataset: dict | Dataset, skip_unreadable: bool = False):
        self.dataset = DATASETS.build(dataset) if isinstance(dataset, dict) else dataset
        self.skip_unreadable = skip_unreadable

    def __len__(self) -> int:
        return len(self.dataset)

    def __getattr__(self, name: str) -> Any:
        # metainfo, get_cat_ids and the like are the wrapped data set's
        if name == "dataset":
            raise AttributeError(name)
        return getattr(self.dataset, name)

    def get_data_info(self, key: "SampleKey | int") -> dict:
        """Annotations of a sample, for batch samplers that group by shape."""
        return self.dataset.get_data_info(key.sample if isinstance(key, SampleKey) else key)

    def __getitem__(self, key: "SampleKey | int") -> dict:
        if not isinstance(key, SampleKey):
            if not self.skip_unreadable:
                return self.dataset[key]
            key = SampleKey(0, 0, key)
        item, unreadable = self._read(key)
        sample = item.get("data_samples")
        if sample is not None:
            sample.set_metainfo(dict(sample_key=tuple(key), unreadable=unreadable))
        return item

    def _read(self, key: SampleKey) -> tuple[dict, tuple[str, ...]]:
        unreadable = []
        for step in range(len(self)):
            index = (key.sample + step) % len(self) if step else key.sample
            try:
                with seeded(*key):
                    return self.dataset[index], tuple(unreadable)
            except UnreadableImageError:
                if not self.skip_unreadable:
                    raise
                path = str(self.dataset.get_data_info(index).get("img_path", index))
                root = getattr(self.dataset, "img_prefix", "")
                unreadable.append(os.path.relpath(path, root) if root else path)
        raise InputError(
            f"None of the training set's {len(self)} images can be read; the first is "
            f"{unreadable[0]}."
        )


@DATA_SAMPLERS.register_module()
class KeyedSampler(Sampler):
    """Every epoch a permutation by (seed, epoch), cut to whole total batches, split over ranks.

    The union of what all ranks see in an update does not depend on their number.

    Args:
        total_batch: images in an update, over all ranks and accumulated steps; the runner sets it.
        seed: the run's seed; None takes one that all ranks agree on.
        open_shards: for ImageShards: take the shards in random order, and samples at random out of
            about this many at a time; None permutes all samples.
    """

    def __init__(
        self,
        dataset: Dataset,
        total_batch: int = 1,
        shuffle: bool = True,
        seed: int | None = None,
        open_shards: int | None = None,
    ):
        self.open_shards = open_shards
        if (check := getattr(dataset, "check_open_shards", None)) is not None:
            check(open_shards if shuffle else None)
        self.rank, self.world_size = get_dist_info()
        self.dataset, self.shuffle, self.epoch = dataset, shuffle, 0
        self._first_epoch = self._skipped = 0
        self.seed = sync_random_seed() if seed is None else seed
        self.size = len(dataset) // total_batch * total_batch
        if self.size == 0:
            raise InputError(
                f"The training set has {len(dataset)} images, fewer than one total batch of "
                f"{total_batch}; lower total_batch, or check the data folder."
            )

    def __iter__(self) -> Iterator[SampleKey]:
        generator = torch.Generator()
        state = np.random.SeedSequence((self.seed, self.epoch)).generate_state(1)
        generator.manual_seed(int(state[0]))
        order = self._order(generator)
        mine = order[self.rank : self.size : self.world_size].tolist()
        mine, self._skipped = mine[self._skipped :], 0
        for sample in mine:
            yield SampleKey(self.seed, self.epoch, sample)

    def _order(self, generator: torch.Generator) -> torch.Tensor:
        count = len(self.dataset)
        if not self.shuffle:
            return torch.arange(count)
        if self.open_shards is None:
            return torch.randperm(count, generator=generator)
        shards = torch.as_tensor(self.dataset.shards)
        place = torch.randperm(int(shards.max()) + 1, generator=generator)
        # a shard's samples are spread over the time of the next open_shards - 1 shards
        delay = torch.rand(count, generator=generator, dtype=torch.float64) * self.open_shards
        return (place[shards] + delay).argsort(stable=True)

    def __len__(self) -> int:
        return self.size // self.world_size

    def set_epoch(self, epoch: int) -> None:
        self.epoch = self._first_epoch + epoch

    def skip(self, number: int) -> None:
        """Go on as if this process had drawn ``number`` samples; a resumed run calls it."""
        self._first_epoch, self._skipped = divmod(number, len(self))
        self.epoch = self._first_epoch
