"""Shards hold what the folder holds: equal tensors by sample id, each once over all workers."""

from __future__ import annotations

import tarfile
from pathlib import Path

import pytest
import torch
from conftest import write_images
from torch.utils.data import DataLoader

from semaim_mm.data import ImageFolder, ImageShards, KeyedDataset, KeyedSampler, keyed
from semaim_mm.data.keyed import SampleKey
from semaim_mm.data.shard_store import ShardStore
from semaim_mm.errors import InputError
from semaim_mm.runtime.launch import build_runner, load_config

pytest.importorskip("webdataset", reason="an extra: pip install '.[shards]'")

from semaim_mm.data.prepare.shards import write_shards

PIPELINE = [
    dict(type="LoadCrop", scale=16, crop_ratio_range=(0.2, 1.0)),
    dict(type="RandomFlip", prob=0.5),
    dict(type="PackInputs"),
]
COUNT = 24


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("folder")
    for seed, name in enumerate(("ant", "bee", "cat")):
        write_images(root / "train" / name, COUNT // 3, size=64, seed=seed)
    return root


@pytest.fixture(scope="module")
def shards(folder, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("shards") / "out"
    written = write_shards(folder, out, "train", labels=True, mebibytes=0.02)
    assert len(written) >= 7  # of images of 8 kB
    return out


def collated(items: list[dict]) -> list[tuple]:
    return [(tuple(i["data_samples"].sample_key), i["inputs"]) for i in items]


def test_a_sample_is_the_folders_sample_of_the_same_number(folder, shards):
    ours = KeyedDataset(ImageShards(str(shards), PIPELINE, with_label=True))
    theirs = KeyedDataset(ImageFolder(str(folder), "train", with_label=True, pipeline=PIPELINE))
    assert len(ours) == len(theirs) == COUNT and ours.metainfo["classes"] == ("ant", "bee", "cat")
    for number in range(COUNT):
        one, other = ours[SampleKey(3, 1, number)], theirs[SampleKey(3, 1, number)]
        assert torch.equal(one["inputs"], other["inputs"])
        assert one["data_samples"].gt_label.item() == other["data_samples"].gt_label.item()


@pytest.mark.parametrize("open_shards", [None, 2])
def test_two_ranks_of_two_workers_see_every_sample_once_and_each_with_its_key(
    monkeypatch, shards, open_shards
):
    seen = {}
    for rank in range(2):
        monkeypatch.setattr(keyed, "get_dist_info", lambda rank=rank: (rank, 2))
        dataset = KeyedDataset(ImageShards(str(shards), PIPELINE))
        sampler = KeyedSampler(dataset, total_batch=4, seed=5, open_shards=open_shards)
        sampler.set_epoch(2)
        loader = DataLoader(dataset, 2, sampler=sampler, num_workers=2, collate_fn=collated)
        for key, image in (pair for batch in loader for pair in batch):
            assert key not in seen and torch.equal(dataset[SampleKey(*key)]["inputs"], image)
            seen[key] = image
    assert sorted(seen) == [(5, 2, number) for number in range(COUNT)]


def test_an_update_does_not_depend_on_the_number_of_ranks(monkeypatch, shards):
    found = []
    for world_size in (1, 2):
        updates: list[set] = [set() for _ in range(COUNT // 4)]
        for rank in range(world_size):
            monkeypatch.setattr(keyed, "get_dist_info", lambda r=rank, w=world_size: (r, w))
            sampler = KeyedSampler(ImageShards(str(shards)), total_batch=4, seed=1, open_shards=2)
            for place, key in enumerate(sampler):
                updates[place * world_size // 4].add(key)
        found.append(updates)
    assert found[0] == found[1]


def test_a_resumed_epoch_goes_on_where_it_stopped(shards):
    whole, resumed = (
        KeyedSampler(ImageShards(str(shards)), total_batch=4, seed=1, open_shards=2)
        for _ in range(2)
    )
    resumed.skip(8)
    assert list(resumed) == list(whole)[8:]


def test_few_shards_are_in_use_at_a_time_and_epochs_take_them_in_another_order():
    class Spread:
        shards = torch.arange(40).repeat_interleave(50)[torch.randperm(2000)]

        def __len__(self) -> int:
            return len(self.shards)

    sampler, orders = KeyedSampler(Spread(), seed=0, open_shards=4), []
    for epoch in range(2):
        sampler.set_epoch(epoch)
        taken = [int(Spread.shards[key.sample]) for key in sampler]
        first = {shard: taken.index(shard) for shard in range(40)}
        last = {shard: len(taken) - 1 - taken[::-1].index(shard) for shard in range(40)}
        used = [sum(first[s] <= at <= last[s] for s in range(40)) for at in range(2000)]
        assert max(used) <= 5 and len({*taken[500:550]}) >= 3
        orders.append(sorted(range(40), key=first.get))
    assert orders[0] != orders[1]


def test_shards_are_webdatasets_and_hold_the_files_bytes(folder, shards):
    with tarfile.open(shards / "shard-000000.tar") as tar:
        names = tar.getnames()
        first = tar.extractfile(names[0]).read()
    number, kind = names[0].split(".")
    assert kind in ("png", "cls") and len(names) % 2 == 0
    files = ImageFolder(str(folder), "train", pipeline=[])
    path = Path(files.get_data_info(int(number))["img_path"])
    assert kind == "cls" or first == path.read_bytes()


@pytest.mark.parametrize("root", ["file:{folder}", "pipe:cat {folder}/{name}"])
def test_shards_come_through_a_cache_that_holds_no_more_than_it_may(shards, tmp_path, root):
    url = root.replace("{folder}", str(shards)).replace("{name}", "{}")
    fetched = ImageShards(url, PIPELINE, cache_dir=str(tmp_path / "cache"), cache_shards=2)
    local = ImageShards(str(shards), PIPELINE)
    for number in range(COUNT):
        with keyed.seeded(number):
            one = fetched[number]["inputs"]
        with keyed.seeded(number):
            assert torch.equal(one, local[number]["inputs"])
        assert len(list((tmp_path / "cache").rglob("*.tar"))) <= 2


def test_what_is_missing_or_cut_is_named(shards, tmp_path):
    with pytest.raises(InputError, match="no image index at"):
        ImageShards(str(tmp_path))
    with pytest.raises(InputError, match="need a cache_dir"):
        ShardStore("https://host/folder")
    store = ShardStore(str(tmp_path))
    with pytest.raises(InputError, match=r"a\.tar that index\.npz lists is missing"):
        store.read("a.tar", 0, 8)
    (tmp_path / "a.tar").write_bytes(b"four")
    with pytest.raises(InputError, match="ends before byte 8"):
        store.read("a.tar", 0, 8)
    with pytest.raises(InputError, match=r"Nothing came from|Can't fetch"):
        ShardStore("pipe:cat /nowhere/{}", str(tmp_path / "cache")).path("index.npz")


def test_shards_are_not_written_over_others(folder, shards):
    with pytest.raises(InputError, match="is not empty"):
        write_shards(folder, shards, "train")


def test_labels_can_not_be_read_from_shards_without(folder, tmp_path):
    write_shards(folder, tmp_path / "plain", "train")
    with pytest.raises(InputError, match="written without labels"):
        ImageShards(str(tmp_path / "plain"), with_label=True)


def test_a_pretraining_from_shards_ends_with_the_weights_of_one_from_the_folder(
    folder, shards, tmp_path
):
    def weights(name: str, **dataset) -> dict[str, torch.Tensor]:
        options = {
            "log_level": "ERROR",
            "total_batch": 8,
            "train_dataloader.batch_size": 8,
            "train_dataloader.num_workers": 0,
            "train_dataloader.persistent_workers": False,
            "train_dataloader.dataset.dataset.data_root": dataset["data_root"],
            "train_dataloader.dataset.dataset.type": dataset["type"],
            "train_cfg.max_epochs": 1,
            "val_cfg": None,
            "val_dataloader": None,
            "val_evaluator": None,
        }
        cfg = load_config("configs/pretrain/semaim_tiny.py", options, str(tmp_path / name))
        if dataset["type"] == "ImageShards":
            del cfg.train_dataloader.dataset.dataset["split"]
        else:
            cfg.train_dataloader.dataset.dataset.split = "train"
        build_runner(cfg).train()
        saved = torch.load(tmp_path / name / "epoch_1.pth", weights_only=False)
        return saved["state_dict"]

    ours = weights("shards", type="ImageShards", data_root=str(shards))
    theirs = weights("folder", type="ImageFolder", data_root=str(folder))
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
