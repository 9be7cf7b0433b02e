"""Features that are kept are the live teacher's; other crops, teachers and data are refused."""

from __future__ import annotations

import json
from functools import partial

import pytest
import torch
from cached_leaves import ARGS, beside, cached_leaf, images_and_teacher, samples
from mmpretrain.registry import MODELS
from teachers import CLIP, random_teacher, save
from torch.testing import assert_close

from semaim_mm.bench.teacher_cache import measure
from semaim_mm.errors import InputError
from semaim_mm.pretrain.targets.cached import marks_of
from semaim_mm.pretrain.write_cache import Images, write_cache
from semaim_mm.runtime.launch import build_runner, load_config
from semaim_mm.runtime.spread import spread_keys

COUNT = 10


@pytest.fixture(scope="module")
def root(tmp_path_factory, make_images):
    return images_and_teacher(tmp_path_factory.mktemp("cached"), make_images, COUNT)


@pytest.fixture
def config(root, tmp_path):
    """A function: options -> the tiny leaf with that teacher and a folder of the test's own."""
    return partial(cached_leaf, root, tmp_path)


@pytest.mark.parametrize(("dtype", "within"), [("float32", 0), ("float16", 1e-3)])
def test_cached_features_are_the_live_teachers(config, dtype, within):
    cfg = config()
    index, _ = write_cache(cfg, dtype, shard_size=4, batch_size=3)
    assert (index["count"], len(index["shards"])) == (COUNT, 3)
    model = MODELS.build(cfg.model)
    model.init_weights()
    imgs = Images(cfg, model.data_preprocessor).batch(range(COUNT))
    ids = [9, 0, 4, 3]  # of every shard, in no order
    cached = model.target_generator(imgs[ids], ids)
    live = model.target_generator.teacher(imgs[ids])
    assert_close(cached.tokens, live.tokens, rtol=within, atol=within or 1e-5)
    assert torch.equal(cached.values, cached.tokens[:, 1:])
    loss = model.loss(imgs[ids], samples(ids))["loss"]
    model.target_generator = model.target_generator.teacher
    assert_close(loss, model.loss(imgs[ids], samples(ids))["loss"], rtol=1e-3, atol=1e-3)


def test_the_live_teacher_does_not_run_in_a_cached_step(config, monkeypatch):
    cfg = config()
    write_cache(cfg)
    model = MODELS.build(cfg.model)
    model.init_weights()
    imgs = Images(cfg, model.data_preprocessor).batch(range(5))
    monkeypatch.setattr(model.target_generator.teacher, "forward", None)
    model.loss(imgs, samples(range(5)))["loss"].backward()
    assert model.head.fc2.weight.grad.abs().sum() > 0


PIXELS, EMA = dict(type="PixelTarget", blur_kernel=None), dict(type="EMATarget")


@pytest.mark.parametrize("other", [PIXELS, EMA], ids=["pixels", "own tokens"])
def test_a_cached_step_with_another_target_beside_is_the_uncached_one(config, other, monkeypatch):
    cfg = config()
    beside(cfg, other)
    cfg.model.ema = dict() if other is EMA else None
    index, folder = write_cache(cfg, "float32", shard_size=4)
    assert index["count"] == COUNT and (folder / "index.json").is_file()
    torch.manual_seed(0)
    cached = MODELS.build(cfg.model)
    cached.init_weights()
    first = cfg.model.target_generator.generators[0]
    cfg.model.target_generator.generators[0] = first.teacher
    live = MODELS.build(cfg.model)
    live.init_weights()
    live.load_state_dict(cached.state_dict())
    ids = [9, 0, 4, 3]
    imgs = Images(cfg, cached.data_preprocessor).batch(range(COUNT))[ids]
    monkeypatch.setattr(cached.target_generator.generators[0].teacher, "forward", None)
    found, expected = (m.train().loss(imgs, samples(ids)) for m in (cached, live))
    assert found.keys() == expected.keys() and len(found) == 3
    assert_close(found, expected, rtol=1e-5, atol=1e-5)
    for model, losses in ((cached, found), (live, expected)):
        losses["loss"].backward()
        torch.optim.SGD(model.parameters(), lr=0.1).step()
    pairs = zip(cached.named_parameters(), live.parameters(), strict=True)
    for (name, one), other_one in pairs:
        assert_close(one, other_one, rtol=1e-5, atol=1e-6, msg=name)


@pytest.mark.slow
def test_validation_of_cached_features_beside_pixels_gets_the_live_teacher(config, tmp_path):
    cfg = config()
    beside(cfg, PIXELS)
    write_cache(cfg)
    cfg = config()
    beside(cfg, PIXELS)
    runner = build_runner(cfg)
    runner.train()
    assert runner.message_hub.get_scalar("val/loss").current() > 0
    meta = torch.load(tmp_path / "run/epoch_1.pth", weights_only=False)["meta"]
    index = json.loads((tmp_path / "cache/index.json").read_text())
    assert meta["training"]["teachers"] == [index["teacher"]]


def test_a_run_on_cached_features_trains_validates_and_tells_its_teacher(config, tmp_path):
    write_cache(config())
    build_runner(config()).train()
    meta = torch.load(tmp_path / "run/epoch_1.pth", weights_only=False)["meta"]
    index = json.loads((tmp_path / "cache/index.json").read_text())
    assert meta["training"]["teachers"] == [index["teacher"]]


CROP = [
    dict(type="LoadImage"),
    dict(type="RandomResizedCrop", scale=64, crop_ratio_range=(0.2, 1.0)),
    dict(type="PackInputs"),
]
FLIP = [dict(type="LoadImage"), dict(type="RandomFlip", prob=0.5), dict(type="PackInputs")]


@pytest.mark.parametrize("pipeline", [CROP, pytest.param(FLIP, marks=pytest.mark.slow)])
def test_crops_that_are_not_fixed_are_refused_when_written_and_when_read(config, pipeline):
    changes = {"train_dataloader.dataset.dataset.pipeline": pipeline}
    with pytest.raises(InputError, match="gives another crop of an image in every epoch"):
        write_cache(config(**changes))
    write_cache(config())
    with pytest.raises(InputError, match=r"Image \d+ is not the one.*crops are not fixed"):
        build_runner(config(**changes)).train()


def test_another_teacher_is_refused(config, root, tmp_path):
    write_cache(config())
    save(random_teacher(CLIP, seed=1, **ARGS).state_dict(), tmp_path / "t.pth")
    cfg = config()
    cfg.model.target_generator.teacher.weights = str(tmp_path / "t.pth")
    with pytest.raises(InputError, match="are of another teacher: sha256 is '"):
        MODELS.build(cfg.model).init_weights()
    cfg = config()
    cfg.model.target_generator.teacher.normalize = "imagenet"
    with pytest.raises(InputError, match=r"are of another teacher: mean is \[122"):
        MODELS.build(cfg.model).init_weights()


def test_a_teacher_whose_arguments_have_a_tuple_is_the_same_teacher(config):
    sizes = {"model.target_generator.teacher.model_args.img_size": (64, 64)}
    write_cache(config(**sizes))
    MODELS.build(config(**sizes).model).init_weights()
    with pytest.raises(InputError, match="are of another teacher: model_args is "):
        MODELS.build(config().model).init_weights()


def test_a_cache_whose_record_does_not_say_what_taught_is_read(config, tmp_path):
    write_cache(config())
    path = tmp_path / "cache/index.json"
    index = json.loads(path.read_text())
    assert index["teacher"].pop("labels") is False
    path.write_text(json.dumps(index))
    MODELS.build(config().model).init_weights()


def test_a_file_of_another_name_is_the_same_teacher(config, root, tmp_path):
    write_cache(config())
    cfg = config()
    copy = tmp_path / "renamed.pth"
    copy.write_bytes((root / "t.pth").read_bytes())
    cfg.model.target_generator.teacher.weights = str(copy)
    renamed, first = MODELS.build(cfg.model), MODELS.build(config().model)
    for model in (renamed, first):
        model.init_weights()
    imgs = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    values = [model.eval().target_generator(imgs).values for model in (renamed, first)]
    assert torch.equal(*values)


@pytest.mark.parametrize("is_told", [True, False], ids=["by the index", "by the tokens"])
def test_features_of_another_grid_are_refused(config, tmp_path, is_told):
    write_cache(config(), shard_size=5)
    path = tmp_path / "cache/index.json"
    index = json.loads(path.read_text())
    assert index["patch_size"] == 8
    if not is_told:
        index.pop("patch_size")
        path.write_text(json.dumps(index))
    cfg = config(**{"model.backbone.patch_size": 16})
    model = MODELS.build(cfg.model)
    if is_told:
        with pytest.raises(InputError, match="another grid: of patches of 8 pixels.*patches of 16"):
            model.init_weights()
        return
    model.init_weights()
    spread_keys(cfg)
    imgs = Images(cfg, model.data_preprocessor).batch(range(2))
    with pytest.raises(InputError, match="another grid: of 64 patches an image.* has 16 patches"):
        model.loss(imgs, samples(range(2)))


def test_other_data_are_refused(config, tmp_path, make_images):
    write_cache(config())
    make_images(tmp_path / "more/pretrain", COUNT, size=64, seed=5)
    model = MODELS.build(config().model)
    model.init_weights()
    cfg = config(data_root=str(tmp_path / "more"))
    spread_keys(cfg)
    imgs = Images(cfg, model.data_preprocessor)
    with pytest.raises(InputError, match="2 of 2 in this step differ.*the data are others"):
        model.loss(imgs.batch(range(2)), samples(range(2)))
    with pytest.raises(InputError, match="Sample 10 is not among the 10"):
        model.loss(imgs.batch(range(2)), samples((0, 10)))


def test_images_without_an_id_are_refused_in_training(config):
    write_cache(config())
    model = MODELS.build(config().model)
    with pytest.raises(InputError, match="reads features by sample id, and these images have none"):
        model.loss(torch.randn(2, 3, 64, 64))


def test_what_can_not_be_cached_is_refused(config):
    cfg = config()
    cfg.model.target_generator.teacher = dict(type="OnlineTarget")
    with pytest.raises(InputError, match="OnlineTarget is no frozen teacher"):
        MODELS.build(cfg.model)
    cfg = config()
    cached = cfg.model.target_generator
    beside(cfg, cached)
    with pytest.raises(InputError, match="MultiTarget, has 2 CachedTargets"):
        write_cache(cfg)
    with pytest.raises(InputError, match="dtype=int8 is none of"):
        write_cache(config(), "int8")
    with pytest.raises(InputError, match="PixelTarget, has 0 CachedTargets; a cache is"):
        write_cache(load_config("configs/pretrain/semaim_tiny.py"))


def test_marks_tell_an_image_from_its_mirror_and_not_from_its_rounding():
    imgs = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    assert (marks_of(imgs) - marks_of(imgs.flip(3))).abs().amax(dim=1).min() > 0.1
    assert_close(marks_of(imgs), marks_of(imgs + 1e-4), atol=1e-3, rtol=0)


@pytest.mark.parametrize("several", [False, True])
def test_the_saving_of_a_step_is_measured(config, several):
    write_cache(config())
    cfg = config()
    if several:
        beside(cfg, PIXELS)
    found = measure(cfg, rounds=2)
    assert found.batch == 5 and found.live.median > 0 and found.cached.median > 0
    assert "times as fast" in str(found)
