"""What a sample looks like is a function of (seed, epoch, sample id), and of nothing else."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.registry import DATASETS
from torch.utils.data import DataLoader

from semaim_mm.data import KeyedDataset, KeyedSampler, SampleKey, keyed
from semaim_mm.errors import InputError

PIPELINE = [
    dict(type="LoadImage"),
    dict(
        type="RandomResizedCrop",
        scale=16,
        crop_ratio_range=(0.2, 1.0),
        backend="pillow",
        interpolation="bicubic",
    ),
    dict(type="RandomFlip", prob=0.5),
    dict(type="PackInputs"),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory, make_images) -> Path:
    path = tmp_path_factory.mktemp("images")
    make_images(path, 20)
    return path


@pytest.fixture
def dataset(folder) -> KeyedDataset:
    inner = dict(type="ImageFolder", data_root=str(folder), pipeline=PIPELINE)
    return DATASETS.build(dict(type="KeyedDataset", dataset=inner))


def of_rank(monkeypatch, rank: int, world_size: int, count: int, **kwargs) -> KeyedSampler:
    monkeypatch.setattr(keyed, "get_dist_info", lambda: (rank, world_size))
    return KeyedSampler(range(count), **kwargs)


def updates(
    monkeypatch, world_size: int, per_device: int, total: int, epoch: int
) -> list[set[SampleKey]]:
    """What all ranks together see in every update of an epoch over 103 images."""
    accumulation = total // (world_size * per_device)
    seen: dict[int, set[SampleKey]] = {}
    for rank in range(world_size):
        sampler = of_rank(monkeypatch, rank, world_size, 103, total_batch=total, seed=5)
        sampler.set_epoch(epoch)
        keys = list(sampler)
        assert len(keys) == len(sampler)
        for position, key in enumerate(keys):
            seen.setdefault(position // (per_device * accumulation), set()).add(key)
    return [seen[update] for update in sorted(seen)]


@pytest.mark.parametrize("total", [8, 16])
def test_an_update_sees_the_same_samples_on_any_number_of_devices(total, monkeypatch):
    one = updates(monkeypatch, 1, 4, total, epoch=3)
    assert [len(update) for update in one] == [total] * (103 // total)
    assert updates(monkeypatch, 2, 4, total, epoch=3) == one
    assert updates(monkeypatch, 4, 2, total, epoch=3) == one


def test_an_epoch_holds_every_sample_at_most_once_and_drops_less_than_a_total_batch(monkeypatch):
    sampler = of_rank(monkeypatch, 0, 1, 103, total_batch=8, seed=0)
    for epoch in range(3):
        sampler.set_epoch(epoch)
        ids = [key.sample for key in sampler]
        assert len(set(ids)) == len(ids) == 96
        assert {(key.seed, key.epoch) for key in sampler} == {(0, epoch)}


def test_epochs_and_seeds_shuffle_differently_and_repeat_exactly(monkeypatch):
    def order(seed: int, epoch: int) -> tuple[int, ...]:
        sampler = of_rank(monkeypatch, 0, 1, 103, seed=seed)
        sampler.set_epoch(epoch)
        return tuple(key.sample for key in sampler)

    assert order(1, 2) == order(1, 2)
    assert len({order(seed, epoch) for seed in range(3) for epoch in range(3)}) == 9
    assert set(order(0, 0)) == set(range(103))


def test_without_shuffling_samples_come_in_order(monkeypatch):
    sampler = of_rank(monkeypatch, 1, 2, 10, shuffle=False, seed=0)
    assert [key.sample for key in sampler] == [1, 3, 5, 7, 9]


def test_a_data_set_smaller_than_a_total_batch_is_refused():
    with pytest.raises(InputError, match="has 7 images, fewer than one total batch of 8"):
        KeyedSampler(range(7), total_batch=8, seed=0)


def test_equal_keys_give_equal_images_and_other_keys_others(dataset):
    image = dataset[SampleKey(0, 0, 3)]["inputs"]
    assert torch.equal(dataset[SampleKey(0, 0, 3)]["inputs"], image)
    for other in (SampleKey(1, 0, 3), SampleKey(0, 1, 3), SampleKey(0, 0, 4)):
        assert not torch.equal(dataset[other]["inputs"], image)


def test_every_sample_carries_its_key_to_the_model(dataset):
    sample = dataset[SampleKey(2, 5, 7)]["data_samples"]
    assert tuple(sample.get("sample_key")) == (2, 5, 7)
    assert Path(sample.img_path).name == "007.png"


def load(dataset, workers: int, batch: int, world_size: int, monkeypatch) -> dict:
    """key -> image, as the loaders of all ranks deliver an epoch."""
    found = {}
    for rank in range(world_size):
        sampler = of_rank(monkeypatch, rank, world_size, 20, total_batch=4, seed=3)
        loader = DataLoader(
            dataset, batch, sampler=sampler, num_workers=workers, collate_fn=lambda items: items
        )
        for items in loader:
            for item in items:
                found[tuple(item["data_samples"].get("sample_key"))] = item["inputs"]
    return found


@pytest.mark.parametrize(("workers", "batch", "world_size"), [(2, 2, 1), (0, 1, 2), (1, 4, 1)])
def test_an_image_is_the_same_for_any_workers_batches_and_devices(
    workers, batch, world_size, dataset, monkeypatch
):
    alone = load(dataset, 0, 1, 1, monkeypatch)
    assert len(alone) == 20
    other = load(dataset, workers, batch, world_size, monkeypatch)
    assert other.keys() == alone.keys()
    assert all(torch.equal(other[key], alone[key]) for key in alone)


def test_reading_a_sample_leaves_the_global_random_states_alone(dataset):
    random.seed(1)
    np.random.seed(2)
    torch.manual_seed(3)
    expected = random.random(), np.random.rand(), torch.rand(1).item()
    random.seed(1)
    np.random.seed(2)
    torch.manual_seed(3)
    dataset[SampleKey(0, 0, 1)]
    assert (random.random(), np.random.rand(), torch.rand(1).item()) == expected


def test_the_random_states_are_restored_when_reading_fails(dataset):
    torch.manual_seed(3)
    before = torch.get_rng_state()
    with pytest.raises(IndexError):
        dataset[SampleKey(0, 0, 10**6)]
    assert torch.equal(torch.get_rng_state(), before)


def test_a_global_seed_does_not_change_a_keyed_sample(dataset):
    images = []
    for seed in (1, 2):
        random.seed(seed)
        np.random.seed(seed)
        torch.manual_seed(seed)
        images.append(dataset[SampleKey(0, 0, 1)]["inputs"])
    assert torch.equal(*images)


def test_a_plain_index_reads_the_wrapped_data_set(dataset):
    assert Path(dataset[4]["data_samples"].img_path).name == "004.png"
    assert len(dataset) == 20
    assert dataset.get_data_info(SampleKey(9, 9, 4))["img_path"].endswith("004.png")
    assert dataset.metainfo == dataset.dataset.metainfo


@pytest.mark.parametrize("world_size", [1, 2])
def test_a_skipped_sampler_goes_on_where_the_other_is(world_size, monkeypatch):
    """What a resumed run of iterations asks for: mmengine restarts its own epochs at 0."""
    monkeypatch.setattr("semaim_mm.data.keyed.get_dist_info", lambda: (world_size - 1, world_size))
    whole = KeyedSampler(list(range(22)), total_batch=4, seed=3)
    drawn = []
    for epoch in range(4):
        whole.set_epoch(epoch)
        drawn += list(whole)
    resumed = KeyedSampler(list(range(22)), total_batch=4, seed=3)
    done = len(whole) + 4 // world_size
    resumed.skip(done)
    found = list(resumed)
    for epoch in (1, 2):
        resumed.set_epoch(epoch)
        found += list(resumed)
    assert found == drawn[done : done + len(found)] and len(found) == len(drawn) - done
