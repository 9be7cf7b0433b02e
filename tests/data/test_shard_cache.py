"""The cache of remote shards: a folder for each set and each writing of it, sized to its use."""

from __future__ import annotations

from pathlib import Path

import pytest
from conftest import write_images

from semaim_mm.data import ImageShards, KeyedDataset, KeyedSampler, shard_store
from semaim_mm.errors import InputError

pytest.importorskip("webdataset", reason="an extra: pip install '.[shards]'")

from semaim_mm.data.prepare.shards import write_shards

PIPELINE = [dict(type="LoadImage"), dict(type="PackInputs")]


def written(folder: Path, seed: int, images: int = 6) -> Path:
    """A set of ``images`` of 64 px in several shards -> its folder."""
    write_images(folder / "images", images, size=64, seed=seed)
    write_shards(folder / "images", folder / "shards", mebibytes=0.02)
    return folder / "shards"


def read_all(shards: ImageShards) -> list[list[int]]:
    return [shards[number]["inputs"].flatten().tolist() for number in range(len(shards))]


def fetched(root: Path, cache: Path, **options) -> ImageShards:
    return ImageShards(f"pipe:cat {root}/{{}}", PIPELINE, cache_dir=str(cache), **options)


def test_two_sets_with_one_cache_stay_two(tmp_path):
    one, other = written(tmp_path / "one", 0), written(tmp_path / "other", 1)
    for root in (one, other, one):
        ours = fetched(root, tmp_path / "cache")
        assert read_all(ours) == read_all(ImageShards(str(root), PIPELINE))


def test_shards_that_were_written_anew_at_the_same_root_are_fetched_anew(tmp_path):
    root = written(tmp_path / "a", 0)
    before = fetched(root, tmp_path / "cache")
    old = read_all(before)
    root.rename(tmp_path / "before")
    for path in (tmp_path / "a" / "images").iterdir():
        path.unlink()
    written(tmp_path / "a", 1)
    after = fetched(root, tmp_path / "cache")
    assert read_all(after) == read_all(ImageShards(str(root), PIPELINE)) != old
    assert read_all(before) == old  # a run that began before goes on with what it has
    assert before.store.folder.parent == after.store.folder.parent


def test_a_shard_that_is_not_the_indexs_is_refused(tmp_path):
    root = written(tmp_path / "a", 0)
    ours = fetched(root, tmp_path / "cache")
    for path in root.glob("*.tar"):
        path.write_bytes(path.read_bytes()[:-1024] + b"x" * 1024)
    with pytest.raises(InputError, match="not the one that its index lists"):
        ours[0]
    assert not list((tmp_path / "cache").rglob("*.tar*.part"))


def test_a_shard_that_others_remove_is_fetched_again_and_at_last_told_in_a_sentence(
    tmp_path, monkeypatch
):
    root = written(tmp_path / "a", 0)
    ours = fetched(root, tmp_path / "cache", cache_shards=1)
    find, left = ours.store.path, [3]

    def removed(name: str) -> Path:
        path = find(name)
        if left[0]:
            left[0] -= 1
            path.unlink()
        return path

    monkeypatch.setattr(ours.store, "path", removed)
    assert ours[0]["inputs"].shape == (3, 64, 64) and left == [0]
    left[0] = shard_store.READS
    with pytest.raises(InputError, match="removed 10 times .* raise cache_shards=1"):
        ours[0]


@pytest.mark.parametrize("open_shards", [2, None])
def test_a_cache_that_is_smaller_than_what_is_read_from_at_a_time_is_refused(tmp_path, open_shards):
    root = written(tmp_path / "a", 0)
    small = KeyedDataset(fetched(root, tmp_path / "cache", cache_shards=1))
    with pytest.raises(InputError, match=r"cache_shards=1 is below the \d shards"):
        KeyedSampler(small, seed=0, open_shards=open_shards)
    assert len(KeyedSampler(small, seed=0, open_shards=1)) == 6
    for enough in (fetched(root, tmp_path / "cache"), ImageShards(str(root), cache_shards=1)):
        assert len(KeyedSampler(KeyedDataset(enough), seed=0, open_shards=open_shards)) == 6
