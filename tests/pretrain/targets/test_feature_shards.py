"""Kept features are checked when they are read; a start reads neither them nor the teacher."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from functools import partial

import pytest
import torch
from cached_leaves import ARGS, cached_leaf, images_and_teacher
from mmengine.config import Config
from mmpretrain.registry import MODELS
from safetensors.torch import load_file, save_file
from teachers import CLIP, random_teacher, save
from torch.testing import assert_close

from semaim_mm.errors import InputError
from semaim_mm.pretrain.targets import feature_shards
from semaim_mm.pretrain.targets.cached import CachedTarget
from semaim_mm.pretrain.targets.feature_shards import FeatureShards
from semaim_mm.pretrain.write_cache import Images, verify_cache, write_cache
from semaim_mm.runtime.launch import build_runner
from semaim_mm.runtime.spread import spread_keys

COUNT, SHARD = 10, 5
NOT_WRITTEN = "00001.safetensors is missing or not what was written"


@pytest.fixture(scope="module")
def root(tmp_path_factory, make_images):
    return images_and_teacher(tmp_path_factory.mktemp("shards"), make_images, COUNT)


@pytest.fixture
def config(root, tmp_path):
    return partial(cached_leaf, root, tmp_path)


@pytest.fixture
def second(config, tmp_path):
    """The second of two shards, images 5 to 9; the last bytes are of image 9's tokens."""
    write_cache(config(), shard_size=SHARD)
    return tmp_path / "cache/00001.safetensors"


def opened(cfg: Config) -> tuple[CachedTarget, torch.Tensor]:
    """-> the target as a run starts with it, and the training images."""
    spread_keys(cfg)
    model = MODELS.build(cfg.model)
    model.init_weights()
    return model.target_generator, Images(cfg, model.data_preprocessor).batch(range(COUNT))


def flip(path, place: int) -> None:
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)


def rewrite(folder, change: Callable[[dict], object]) -> None:
    """Change a cache's index, as caches of before something was written have it."""
    index = json.loads((folder / "index.json").read_text())
    change(index)
    (folder / "index.json").write_text(json.dumps(index))


def refuse(*args):
    raise AssertionError("a start was to cost nothing")


def test_a_start_hashes_no_shard_and_loads_no_teacher(config, second, monkeypatch):
    monkeypatch.setattr(feature_shards, "sha256_of", refuse)
    with monkeypatch.context() as at_the_start:
        at_the_start.setattr(feature_shards, "safe_open", refuse)
        target, imgs = opened(config())
    assert target.teacher._teacher == [], "loaded when the features were opened"
    assert target(imgs, range(COUNT)).values.shape == (COUNT, 64, 24)
    assert target.teacher._teacher == [], "loaded when the features were read"


def test_a_cache_that_is_absent_cut_off_or_torn_is_refused_at_the_start(config, second):
    shutil.move(second, second.with_suffix(".away"))
    with pytest.raises(InputError, match=NOT_WRITTEN):
        opened(config())
    second.write_bytes(second.with_suffix(".away").read_bytes()[:-1])
    with pytest.raises(InputError, match=f"{NOT_WRITTEN}.*its size"):
        opened(config())
    index = second.parent / "index.json"
    index.write_text(index.read_text()[:-20])
    with pytest.raises(InputError, match="index.json is no JSON"):
        opened(config())
    index.unlink()
    with pytest.raises(InputError, match="There are no cached features at"):
        opened(config())


def test_a_changed_feature_is_refused_when_it_is_read(config, second):
    flip(second, -1)
    target, imgs = opened(config())
    target(imgs[:9], range(9))
    with pytest.raises(InputError, match=f"{NOT_WRITTEN}.*an image's checksum"):
        target(imgs[9:], [9])
    rewrite(second.parent, lambda index: index.pop("mean"))
    with pytest.raises(InputError, match=NOT_WRITTEN):
        opened(config())[0].mean()


def test_the_mean_is_kept_with_the_features_and_no_shard_is_read_for_it(
    config, second, monkeypatch
):
    with monkeypatch.context() as kept:
        kept.setattr(FeatureShards, "_open", refuse)
        mean = opened(config())[0].mean()
    rewrite(second.parent, lambda index: index.pop("mean"))
    older, _ = opened(config())
    assert torch.equal(older.mean(), mean)
    monkeypatch.setattr(FeatureShards, "_open", refuse)
    assert torch.equal(older.mean(), mean), "every shard is read once, not at every call"


def test_a_mean_that_was_changed_or_is_gone_is_refused(config, second):
    path = second.parent / "mean.safetensors"
    flip(path, -1)
    target, _ = opened(config())
    for use in (target.mean, partial(verify_cache, config())):
        with pytest.raises(InputError, match="mean.safetensors is missing or.*its SHA-256"):
            use()
    path.unlink()
    with pytest.raises(InputError, match="mean.safetensors is missing or"):
        target.mean()
    with pytest.raises(InputError, match="mean.safetensors is missing or.*its size"):
        opened(config())


@pytest.mark.parametrize("name", ["marks", "sums"])
def test_changed_marks_or_checksums_are_refused_when_the_shard_is_opened(config, second, name):
    tensors = load_file(second)
    tensors[name][0] += 1
    save_file(tensors, second)
    target, imgs = opened(config())
    target(imgs[:5], range(5))
    with pytest.raises(InputError, match=f"{NOT_WRITTEN}.*of its checksums"):
        target(imgs[9:], [9])


def test_a_changed_header_is_refused_when_the_shard_is_opened(config, second):
    flip(second, 8)
    target, imgs = opened(config())
    with pytest.raises(InputError, match=f"{NOT_WRITTEN}.*can't be read"):
        target(imgs[9:], [9])


def test_a_shard_of_another_teacher_is_refused(config, second, tmp_path):
    mine = second.read_bytes()
    cfg = config()
    cfg.model.target_generator.folder = str(tmp_path / "other")
    cfg.model.target_generator.teacher.weights = str(tmp_path / "t.pth")
    save(random_teacher(CLIP, seed=1, **ARGS).state_dict(), tmp_path / "t.pth")
    write_cache(cfg, shard_size=SHARD)
    shutil.copy(tmp_path / "other" / second.name, second)
    assert len(second.read_bytes()) == len(mine)
    target, imgs = opened(config())
    with pytest.raises(InputError, match=f"{NOT_WRITTEN}.*of its checksums"):
        target(imgs[5:], range(5, 10))


def test_every_shard_is_hashed_when_that_is_asked_for(config, second):
    index, folder = verify_cache(config())
    assert (index["count"], folder) == (COUNT, second.parent)
    flip(second, -1)
    with pytest.raises(InputError, match=f"{NOT_WRITTEN}.*its SHA-256"):
        verify_cache(config())


def test_a_cache_without_checksums_is_hashed_when_it_is_opened(config, second):
    tensors = load_file(second)
    tensors.pop("sums")
    save_file(tensors, second)

    def older(index: dict) -> None:
        for shard in index["shards"]:
            shard.pop("bytes"), shard.pop("rows_sha256")
        index["shards"][1]["sha256"] = feature_shards.sha256_of(second)
        index.pop("mean")

    rewrite(second.parent, older)
    target, imgs = opened(config())
    live = target.teacher(imgs).values
    assert_close(target(imgs, range(COUNT)).values, live, rtol=1e-3, atol=1e-3)
    assert_close(target.mean()[0], live.mean(dim=0), rtol=1e-3, atol=1e-3)
    flip(second, -1)
    with pytest.raises(InputError, match=f"{NOT_WRITTEN}.*its SHA-256"):
        opened(config())[0](imgs[9:], [9])


WITHOUT_VALIDATION = dict(val_cfg=None, val_dataloader=None, val_evaluator=None)


def test_without_its_weights_a_teacher_is_known_by_the_cache(config, root, second, tmp_path):
    cfg = config(**WITHOUT_VALIDATION)
    gone = cfg.model.target_generator.teacher.weights = str(tmp_path / "gone.pth")
    runner = build_runner(cfg)
    runner.train()
    meta = torch.load(tmp_path / "run/epoch_1.pth", weights_only=False)["meta"]
    index = json.loads((tmp_path / "cache/index.json").read_text())
    assert meta["training"]["teachers"] == [index["teacher"] | dict(weights="gone.pth")]
    target, imgs = runner.model.target_generator, torch.randn(1, 3, 64, 64)
    with pytest.raises(InputError, match="never downloaded, nor left random"):
        target(imgs)
    save(random_teacher(CLIP, seed=1, **ARGS).state_dict(), gone)
    with pytest.raises(InputError, match="whose features are in use: put its file there"):
        target(imgs)
    shutil.copy(root / "t.pth", gone)
    assert target(imgs).values.shape == (1, 64, 24)
