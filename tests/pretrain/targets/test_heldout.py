"""The loss on held-out images, of kept features: their teacher sees those images and no others."""

from __future__ import annotations

from functools import partial

import pytest
from cached_leaves import HELD_OUT, beside, cached_leaf, images_and_teacher
from torch.testing import assert_close

from semaim_mm.errors import InputError
from semaim_mm.pretrain.heldout import mean_target
from semaim_mm.pretrain.targets.cached import CachedTarget
from semaim_mm.pretrain.write_cache import write_cache
from semaim_mm.runtime.launch import build_runner

PIXELS = dict(type="PixelTarget", blur_kernel=None)


@pytest.fixture(scope="module")
def root(tmp_path_factory, make_images):
    return images_and_teacher(tmp_path_factory.mktemp("heldout"), make_images, 10)


@pytest.fixture
def config(root, tmp_path):
    return partial(cached_leaf, root, tmp_path)


@pytest.mark.parametrize("several", [False, True], ids=["alone", "beside pixels"])
def test_the_teacher_sees_held_out_images_alone(config, several, monkeypatch):
    cfg = config()
    if several:
        beside(cfg, PIXELS)
    write_cache(config())
    runner, seen = build_runner(cfg), []
    target = next(m for m in runner.model.modules() if isinstance(m, CachedTarget))
    live = target.teacher.forward
    monkeypatch.setattr(
        target.teacher, "forward", lambda imgs: seen.append(len(imgs)) or live(imgs)
    )
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


def test_without_its_weights_held_out_images_stop_a_run_before_it_starts(config, tmp_path):
    write_cache(config())
    cfg = config()
    cfg.model.target_generator.teacher.weights = str(tmp_path / "gone.pth")
    with pytest.raises(InputError, match=r"held-out images.*not at .*gone.pth.*val_cfg=None"):
        build_runner(cfg).train()
    assert not list((tmp_path / "run").glob("*.pth"))
