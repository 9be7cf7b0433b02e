"""The loss on held-out images, of kept features: their teacher sees those images and no others."""

from __future__ import annotations

import json
from functools import partial

import pytest
import torch
from cached_leaves import HELD_OUT, beside, cached_leaf, images_and_teacher
from torch.testing import assert_close

from semaim_mm.errors import InputError
from semaim_mm.pretrain import heldout
from semaim_mm.pretrain.heldout import mean_target
from semaim_mm.pretrain.targets.cached import CachedTarget
from semaim_mm.pretrain.targets.feature_shards import FeatureShards
from semaim_mm.pretrain.write_cache import Images, write_cache
from semaim_mm.runtime.launch import build_runner

PIXELS = dict(type="PixelTarget", blur_kernel=None)


EMA = dict(type="EMATarget")


@pytest.fixture(scope="module")
def root(tmp_path_factory, make_images):
    return images_and_teacher(tmp_path_factory.mktemp("heldout"), make_images, 10)


@pytest.fixture
def config(root, tmp_path):
    return partial(cached_leaf, root, tmp_path)


def seen_by_teacher(runner, monkeypatch) -> list[int]:
    """-> the sizes of the batches that a runner's live teacher sees from now on."""
    target, seen = next(m for m in runner.model.modules() if isinstance(m, CachedTarget)), []
    live = target.teacher.forward
    monkeypatch.setattr(
        target.teacher, "forward", lambda imgs: seen.append(len(imgs)) or live(imgs)
    )
    return seen


@pytest.mark.parametrize(
    "several",
    [
        pytest.param(False, id="alone", marks=pytest.mark.slow),
        pytest.param(True, id="beside pixels"),
    ],
)
def test_the_teacher_sees_held_out_images_alone(config, several, monkeypatch):
    cfg = config()
    if several:
        beside(cfg, PIXELS)
    write_cache(config())
    runner = build_runner(cfg)
    seen = seen_by_teacher(runner, monkeypatch)
    runner.train()
    assert seen == [HELD_OUT, HELD_OUT], "once for the loss, once for the mean predictor's"


def test_the_mean_target_of_kept_features_is_the_live_teachers(config):
    cfg = config()
    beside(cfg, PIXELS)
    write_cache(cfg, "float32", shard_size=3)
    runner = build_runner(cfg)
    model, loader = runner.model.eval(), runner.build_val_loop(cfg.val_cfg).mean_dataloader
    model.init_weights()
    kept = mean_target(model, loader)
    target = model.target_generator
    target.generators[0] = target.generators[0].teacher
    live = mean_target(model, loader)
    assert kept.shape == (1, 64, 24 + 192)
    assert_close(kept, live, rtol=1e-5, atol=1e-5)


@pytest.mark.slow
def test_without_its_weights_held_out_images_stop_a_run_before_it_starts(config, tmp_path):
    write_cache(config())
    cfg = config()
    cfg.model.target_generator.teacher.weights = str(tmp_path / "gone.pth")
    with pytest.raises(InputError, match=r"held-out images.*not at .*gone.pth.*val_cfg=None"):
        build_runner(cfg).train()
    assert not list((tmp_path / "run").glob("*.pth"))


@pytest.mark.slow
@pytest.mark.parametrize("is_older", [False, True], ids=["mean kept", "older"])
def test_beside_a_target_that_moves_the_kept_features_are_read_once_at_most(
    is_older, config, tmp_path, monkeypatch
):
    cfg = config()
    beside(cfg, EMA)
    cfg.model.ema = dict()
    write_cache(cfg, shard_size=5)
    if is_older:
        path = tmp_path / "cache/index.json"
        index = json.loads(path.read_text())
        index.pop("mean")
        path.write_text(json.dumps(index))
    runner, read, reading = build_runner(cfg), [], FeatureShards._open
    monkeypatch.setattr(
        FeatureShards, "_open", lambda self, number: read.append(number) or reading(self, number)
    )
    first, second = runner.val(), runner.val()
    assert read == ([0, 1] if is_older else [])
    assert first == second
    with torch.no_grad():
        for parameter in runner.model.ema.parameters():
            parameter.add_(torch.randn_like(parameter))
    assert runner.val()["mean_predictor_loss"] != first["mean_predictor_loss"]


def test_beside_a_target_that_moves_a_live_teacher_gives_the_mean_once(config, monkeypatch):
    cfg = config()
    beside(cfg, EMA)
    cfg.model.ema = dict()
    cfg.model.target_generator.generators[0] = cfg.model.target_generator.generators[0].teacher
    runner, seen = build_runner(cfg), []
    teacher = runner.model.target_generator.generators[0]
    live = teacher.forward
    monkeypatch.setattr(teacher, "forward", lambda imgs: seen.append(len(imgs)) or live(imgs))
    first = runner.val()
    assert seen == [10, HELD_OUT, HELD_OUT], "the training images, then held-out ones alone"
    with torch.no_grad():
        for parameter in runner.model.ema.parameters():
            parameter.add_(torch.randn_like(parameter))
    assert runner.val()["mean_predictor_loss"] != first["mean_predictor_loss"]
    assert seen == [10] + 4 * [HELD_OUT]


@pytest.mark.parametrize("other", ["manifest", "folder", "neither"])
def test_of_as_many_images_of_other_data_the_teacher_gives_the_mean(
    other, config, tmp_path, monkeypatch
):
    cfg = config()
    write_cache(cfg)
    path = tmp_path / "cache/index.json"
    index = json.loads(path.read_text())
    assert index["data"] == dict(name="data", folder="pretrain", manifest_sha256=None)
    # a manifest on one side alone tells nothing; on both, or a folder, that the data are others
    index["data"] |= dict(manifest_sha256="a" * 64) if other != "folder" else dict(folder="train")
    path.write_text(json.dumps(index))
    if other == "manifest":
        record = dict(name="data", folder="pretrain", manifest_sha256="b" * 64)
        monkeypatch.setattr(heldout, "data_record", lambda dataset: record)
    runner = build_runner(cfg)
    seen = seen_by_teacher(runner, monkeypatch)
    runner.val()
    held_out = [HELD_OUT, HELD_OUT]
    assert seen == (held_out if other == "neither" else [10, *held_out])


@pytest.mark.slow
def test_of_other_images_than_were_cached_the_teacher_gives_the_mean_once(config, monkeypatch):
    cfg = config(**{"val_cfg.mean_dataloader.dataset.indices": 7})
    beside(cfg, EMA)
    cfg.model.ema = dict()
    write_cache(cfg, "float32")
    runner = build_runner(cfg)
    loop, seen = runner.val_loop, seen_by_teacher(runner, monkeypatch)
    assert len(loop.mean_dataloader.dataset) == 7
    mean = mean_target(runner.model.eval(), loop.mean_dataloader)
    target = runner.model.target_generator.generators[0]
    imgs = Images(cfg, runner.model.data_preprocessor).batch(range(7))
    assert_close(mean[..., :24], target(imgs, range(7)).values.mean(dim=0, keepdim=True))
    seen.clear()
    runner.val(), runner.val()
    assert seen == [7, HELD_OUT, HELD_OUT, HELD_OUT, HELD_OUT]
