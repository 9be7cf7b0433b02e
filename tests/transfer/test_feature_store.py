"""Feature files: what they take, when they are refused, and that they go."""

import shutil

import pytest
import torch

from semaim_mm.errors import InputError
from semaim_mm.transfer import feature_store
from semaim_mm.transfer.feature_store import GIB, FeatureStore, FeatureTable, RecordFile

# ViT-B and ViT-L on ImageNet-1K: CLS and mean of every block, the last block's patch tokens
BASE = {f"layer{n}.{kind}": (768,) for n in range(12) for kind in ("cls", "patches")}
LARGE = {f"layer{n}.{kind}": (1024,) for n in range(24) for kind in ("cls", "patches")}
IMAGENET = dict(train=1_281_167, test=50_000)


@pytest.fixture
def disk(monkeypatch):
    def have(free):
        usage = shutil.disk_usage("/")._replace(free=free)
        monkeypatch.setattr(feature_store.shutil, "disk_usage", lambda path: usage)

    have(1 << 50)
    return have


def test_the_need_of_imagenet_is_counted_and_float32_left_for_small_sets(tmp_path, disk):
    store = FeatureStore(tmp_path)
    share = torch.arange(0, IMAGENET["train"], 10)
    need = store.plan(BASE | {"layer11.attentive": (196, 768)}, IMAGENET, {"train": share})
    images = sum(IMAGENET.values())
    tokens = (len(share) + IMAGENET["test"]) * 196 * 768 * 2
    assert store.storage == "float16" and need == images * 24 * 768 * 2 + tokens
    last = FeatureStore(tmp_path)
    assert last.plan({"layer11.patches": (768,)}, IMAGENET) == images * 768 * 4
    assert last.storage == "float32"
    assert FeatureStore(tmp_path).plan(LARGE, IMAGENET) == images * 48 * 1024 * 2


def test_a_disk_that_is_too_small_is_told_with_both_numbers(tmp_path, disk):
    disk(20 * GIB)
    with pytest.raises(InputError, match="need 45.7 GiB on disk, but .* has 20.0 GiB free"):
        FeatureStore(tmp_path).plan(BASE, IMAGENET)
    assert not any(tmp_path.iterdir())


def test_a_storage_that_does_not_exist_is_refused(tmp_path):
    with pytest.raises(InputError, match="'int8'; set test_cfg.storage"):
        FeatureStore(tmp_path, "int8")


def test_values_that_float16_cannot_hold_are_refused(tmp_path):
    file = RecordFile(tmp_path / "f.bin", {"a": (2,)}, "float16", torch.arange(1), 1)
    file.create()
    with pytest.raises(InputError, match="larger than torch.float16 can hold"):
        file.write({"a": torch.tensor([[1e6, 0.0]])}, torch.tensor([0]))


@pytest.mark.parametrize("dtype, loss", [("float32", 0), ("float16", 2**-11), ("bfloat16", 2**-8)])
def test_what_is_read_is_what_was_written_up_to_the_stated_loss(tmp_path, dtype, loss):
    values = torch.randn(50, 8)
    file = RecordFile(tmp_path / "f.bin", {"a": (3,), "b": (5,)}, dtype, torch.arange(50), 50)
    file.create()
    for start in (0, 20):
        part = values[start : start + 30][:20] if start == 0 else values[20:]
        numbers = torch.arange(start, start + len(part))
        file.write({"a": part[:, :3], "b": part[:, 3:]}, numbers)
    file.finish()
    got = FeatureTable(file, ("a", "b"))[torch.arange(50)].float()
    torch.testing.assert_close(got, values, rtol=loss, atol=1e-7 if loss else 0)


@pytest.mark.parametrize("world", [1, 2, 3])
def test_processes_write_side_by_side_and_every_image_is_found(tmp_path, monkeypatch, world):
    """Rank r sees r, r + W, ...; here the ranks write one after another."""
    values, images = torch.randn(11, 4), torch.tensor([0, 1, 4, 5, 6, 9])
    monkeypatch.setattr(feature_store, "get_world_size", lambda: world)
    files = []
    for rank in range(world):
        monkeypatch.setattr(feature_store, "get_rank", lambda rank=rank: rank)
        file = RecordFile(tmp_path / "f.bin", {"a": (4,)}, "float32", images, 11)
        file.create()
        numbers = torch.arange(rank, 11, world)
        for part in numbers.split(2):
            file.write({"a": values[part]}, part)
        file.finish()
        files.append(file)
    for file in files:
        table = FeatureTable(file, ("a",))
        index = torch.tensor([9, 0, 6, 1])
        assert torch.equal(table[index], values[index])
        assert torch.equal(table.to(torch.device("cpu")), values[images])


def test_a_file_that_another_machine_does_not_see_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr(feature_store, "get_world_size", lambda: 2)
    monkeypatch.setattr(feature_store, "get_rank", lambda: 1)
    (tmp_path / "f.bin").touch()
    file = RecordFile(tmp_path / "f.bin", {"a": (4,)}, "float32", torch.arange(3), 3)
    file.create()
    file.write({"a": torch.zeros(1, 4)}, torch.tensor([1]))
    file.path.unlink()
    with pytest.raises(InputError, match="does not see all .* test_cfg.cache_dir"):
        file.finish()


@pytest.mark.parametrize("keep", [False, True])
def test_files_go_when_the_evaluation_ends_unless_they_are_to_stay(tmp_path, keep):
    folder = tmp_path / "features"
    with FeatureStore(folder, keep=keep) as store:
        store.plan({"a": (4,)}, dict(train=2))
        (file,) = store.files["train"]
        file.create()
        file.write({"a": torch.ones(2, 4)}, torch.arange(2))
        file.finish()
    kept = sorted(path.name for path in folder.iterdir()) if folder.is_dir() else None
    assert kept == (["layout.json", "train.pooled.bin"] if keep else None)


def test_files_go_when_the_evaluation_fails_and_a_strangers_file_stays(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(InputError), FeatureStore(tmp_path, keep=True) as store:
        store.plan({"a": (4,)}, dict(train=2))
        store.files["train"][0].create()
        raise InputError("a fault")
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]
