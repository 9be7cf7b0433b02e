"""Configs of a pretraining, mutated at random: one step runs, or an InputError names the key."""

from __future__ import annotations

import math
from functools import cache

import pytest
import torch
from conftest import TINY, merge
from hypothesis import example, given, settings
from hypothesis import strategies as st
from leaf_facts import full_size_leaves
from mmpretrain.registry import MODELS, TRANSFORMS
from test_fuzz_files import places, put

from semaim_mm.errors import InputError
from semaim_mm.pretrain.draws import Draws
from semaim_mm.pretrain.order import ORDERS, build_order
from semaim_mm.runtime.launch import build_runner, load_config, user_errors
from semaim_mm.runtime.model_keys import check_keys, check_model
from semaim_mm.runtime.run_keys import check_run
from semaim_mm.runtime.spread import spread_keys

BASE = dict(type="SemAIM", similarity_from="online", cls_last=False, ema=None)
BASE |= merge(TINY, dict(backbone=dict(drop_path_rate=0.1, num_registers=0)))
BASE["neck"] = dict(BASE["neck"], share_weights=False, mlp_ratio=4, with_cp=False)
BASE["target_generator"] |= dict(blur_kernel=9, blur_sigma=1.0, normalize=True)
ORDER = dict(type="MultiCenterOrder", similarity="cls", num_centers=3, radius=3.0, threshold=0.7)
BASES = [BASE, BASE | dict(order=ORDER, ema=dict(start=0.9, end=0.99, epochs=2))]
# another type of model is not SemAIM's to judge
KEYS = [sorted(set(places(base)) - {("type",)}, key=str) for base in BASES]
# sizes stay small: what does not fit in memory is no wrong config
NUMBERS = st.integers(-3, 30) | st.floats(-3, 30) | st.sampled_from([float("nan"), float("inf")])
KINDS = ["SemAIMViT", "SemAIMHead", "LinearClsHead", "OnlineTarget", "EMATarget", "PixelTarget"]
WORDS = st.sampled_from(
    [*KINDS, "x", "4", "gap", "self", "ema", "target", "raster", "linear", "l1", "mlp", "tiny"]
)
PLAIN = st.none() | st.booleans() | NUMBERS | WORDS
VALUES = PLAIN | st.lists(PLAIN, max_size=3) | st.dictionaries(WORDS, PLAIN, max_size=2)


def settings_of(examples: int):
    return settings(max_examples=examples, derandomize=True, deadline=None)


def one_step(cfg) -> float:
    """What the runner does with a model's config, and one step of two images -> its loss."""
    check_model(cfg)
    model = MODELS.build(cfg)
    model.init_weights()
    size = model.backbone.patch_resolution
    patch = model.backbone.patch_size
    images = torch.randn(2, 3, *(side * patch for side in size))
    loss = model.loss(images)["loss"]
    assert loss.ndim == 0
    loss.backward()
    return loss.item()


def assert_runs_or_names(cfg, where) -> None:
    try:
        one_step(cfg)
    except InputError as error:
        # a depth may be told where it no longer goes with another part's
        keys = {"depth", *(key for key in where if isinstance(key, str))} - {"type"}
        said = str(error)
        assert any(key in said for key in keys) and len(said) > 30, (where, said)


@pytest.mark.parametrize("base", BASES, ids=["plain", "multi-centre, ema"])
def test_the_configs_that_are_mutated_run(base):
    assert math.isfinite(one_step(base))


@settings_of(150)
@given(data=st.data())
def test_a_key_of_any_value_runs_or_is_named(data):
    base = data.draw(st.sampled_from(BASES))
    where = data.draw(st.sampled_from(KEYS[BASES.index(base)]))
    value = data.draw(VALUES)
    assert_runs_or_names(put(base, where, value), where)


@pytest.mark.slow
@settings_of(30)
@given(data=st.data())
def test_a_key_that_is_gone_or_unknown_runs_or_is_named(data):
    base = data.draw(st.sampled_from(BASES))
    where = data.draw(st.sampled_from(KEYS[BASES.index(base)]))
    cfg = put(base, where, None)
    owner = cfg
    for key in where[:-1]:
        owner = owner[key]
    del owner[where[-1]]
    assert_runs_or_names(cfg, where)
    owner["stranger"] = 1
    with pytest.raises(InputError, match=r"stranger|type|arch"):
        one_step(cfg)


@settings_of(100)
@given(
    name=st.sampled_from(sorted({kind.__name__ for kind in ORDERS.module_dict.values()})),
    grid=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    changes=st.dictionaries(
        st.sampled_from(["similarity", "num_centers", "radius", "threshold"]), VALUES, max_size=2
    ),
    flat=st.booleans(),
)
@example(name="MultiCenterOrder", grid=(1, 1), changes=dict(num_centers=9), flat=True)
def test_an_order_of_any_arguments_permutes_any_grid_or_is_named(name, grid, changes, flat):
    cfg = dict(type=name) | changes
    try:
        check_model(cfg, "model.order")
        order = build_order(cfg)
    except InputError as error:
        assert any(key in str(error) for key in changes)
        return
    length = grid[0] * grid[1]
    draws = Draws.of_samples(torch.zeros(2, 3, 4, 4), None)
    similarity = torch.zeros(2, length) if flat else torch.randn(2, length)
    ranks = order.ranks(grid, draws, similarity)
    assert torch.equal(ranks.sort(dim=1).values, torch.arange(length).expand(2, -1))


@pytest.mark.parametrize(
    ("options", "key"),
    [
        ({"model.neck.query_depth": "x"}, "model.neck.query_depth='x'"),
        ({"model.head.los": "l2"}, "model.head.los"),
        ({"model.backbone.arch.num_heads": 0}, "model.backbone.arch.num_heads=0"),
        ({"model.order": 3}, "model.order=3"),
        ({"model.backbone.drop_path_rate": 1.5}, "model.backbone.drop_path_rate=1.5"),
        ({"model": None}, "model=None"),
        ({"total_batch": "4"}, "total_batch='4'"),
        ({"classes": 3}, "classes=3"),
        ({"num_classes": 3}, "model.head.num_classes"),
        ({"train_dataloader.batch_size": "abc"}, "train_dataloader.batch_size='abc'"),
        ({"train_dataloader.num_workers": -1}, "train_dataloader.num_workers=-1"),
        ({"train_dataloader.sampler.type": "Keyd"}, "train_dataloader.sampler.type='Keyd'"),
        ({"train_dataloader.dataset.dataset.split": 3}, "dataset.dataset.split=3"),
        ({"train_dataloader.dataset.dataset.pipeline.2.probb": 0.5}, "pipeline.2.probb"),
        ({"train_dataloader.dataset.dataset.pipeline": "x"}, "dataset.dataset.pipeline='x'"),
        ({"val_cfg.mean_dataloader.batch_size": 0}, "val_cfg.mean_dataloader.batch_size=0"),
        ({"randomness.seed": "abc"}, "randomness.seed='abc'"),
        ({"randomness.seed": -1}, "randomness.seed=-1"),
        ({"train_cfg.max_epochs": 0}, "train_cfg.max_epochs=0"),
        ({"train_cfg.val_interval": "x"}, "train_cfg.val_interval='x'"),
        ({"default_hooks.checkpoint.interval": "x"}, "default_hooks.checkpoint.interval='x'"),
        ({"default_hooks.checkpoint.type": "Safe"}, "default_hooks.checkpoint.type='Safe'"),
        ({"custom_hooks": 3}, "custom_hooks=3"),
        ({"optim_wrapper.optimizer.weight_decay": "x"}, "optim_wrapper.optimizer.weight_decay='x'"),
        ({"optim_wrapper.optimizer.betas": [0.9, 2]}, "optim_wrapper.optimizer.betas=[0.9, 2]"),
        ({"optim_wrapper.optimizer.lr": 1e-3}, "would count for nothing beside base_lr"),
        ({"optim_wrapper.optimizer.type": "Adamw"}, "optim_wrapper.optimizer.type='Adamw'"),
        ({"param_scheduler.0.end": "x"}, "param_scheduler.0.end='x'"),
        ({"log_processor.window_size": "x"}, "log_processor.window_size='x'"),
        ({"log_level": "FOO"}, "log_level='FOO'"),
        ({"log_level": []}, "log_level=[]"),
        ({"env_cfg.mp_cfg": 3}, "env_cfg.mp_cfg=3"),
        ({"visualizer.type": "Foo"}, "visualizer.type='Foo'"),
        ({"data_root": 3}, "data_root=3"),
        ({"load_from": 5}, "load_from=5"),
    ],
)
def test_the_runner_names_the_key_before_it_builds(options, key, tmp_path):
    cfg = load_config("configs/pretrain/semaim_tiny.py", options, str(tmp_path))
    with pytest.raises(InputError) as refused:
        build_runner(cfg)
    assert key in str(refused.value)


TOP = ["total_batch", "base_lr", "accumulate", "classes", "num_classes", "holdout", "precision"]


@settings_of(80)
@given(key=st.sampled_from([*TOP, "unreadable_budget", "bad_annotations"]), value=VALUES)
def test_a_top_level_key_of_any_value_is_taken_or_named(key, value):
    try:
        cfg = load_config("configs/pretrain/semaim_tiny.py", {key: value})
        check_keys(cfg)
        spread_keys(cfg)
        check_model(cfg["model"])
    except InputError as error:
        assert key in str(error)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"train_dataloader.batchsize": 3}, "train_dataloader.batchsize"),
        ({"modle.order": "raster"}, "modle.order"),
        ({"train_cfg.max_epoch": 3}, "train_cfg.max_epoch"),
        ({"model": 3, "total_batc": 3}, "total_batc"),
    ],
)
def test_an_override_that_nothing_would_read_is_refused(options, told):
    with pytest.raises(InputError, match=f"no part that would take {told}, so it would change"):
        load_config("configs/pretrain/semaim_tiny.py", options)


def test_an_override_describes_a_part_that_the_config_leaves_out():
    cfg = load_config("configs/pretrain/semaim_tiny.py", {"model.ema.start": 0.9})
    assert cfg.model.ema.start == 0.9


@pytest.mark.parametrize("text", ["model = dict(", "model = missing", "_base_ = 'nowhere.py'"])
def test_a_file_that_is_no_config_is_told_by_its_name(text, tmp_path):
    path = tmp_path / "leaf.py"
    path.write_text(text + "\n")
    with pytest.raises(InputError, match=r"leaf\.py.* can't be read as a config \(.+\); mend it"):
        load_config(str(path))


LEAVES = ["configs/pretrain/semaim_tiny.py", "configs/cls/finetune_tiny.py"]
LEAVES += ["configs/cls/knn_tiny.py", "configs/det/mask-rcnn_tiny_vitdet.py"]
LEAVES += ["configs/seg/upernet_tiny.py"]
# the run's parts, that check_run answers for: the model's are mutated above
PARTS = ("train_dataloader", "val_dataloader", "test_dataloader", "train_cfg", "val_cfg")
PARTS += ("test_cfg", "optim_wrapper", "param_scheduler", "default_hooks", "custom_hooks")
PARTS += ("randomness", "log_processor", "visualizer", "env_cfg", "test_evaluator", "val_evaluator")


@cache
def leaf_and_keys(name: str) -> tuple[dict, list[tuple]]:
    cfg = load_config(name).to_dict()
    return cfg, [where for where in places(cfg) if where and where[0] in PARTS]


@settings_of(300)
@given(data=st.data())
def test_a_key_of_a_run_of_any_value_is_taken_or_named(data):
    cfg, keys = leaf_and_keys(data.draw(st.sampled_from(LEAVES)))
    where = data.draw(st.sampled_from(keys))
    try:
        check_run(put(cfg, where, data.draw(VALUES)))
    except InputError as error:
        # the key itself, or the part that lacks something without it
        whole, part = (".".join(map(str, place)) for place in (where, where[:-1]))
        assert whole in str(error) or (part and f"{part}=" in str(error)), (where, error)


@pytest.mark.parametrize("name", full_size_leaves())
def test_no_leaf_is_refused(name):
    check_run(load_config(name))


def test_what_no_check_foresaw_has_a_sentence_above_its_trace(capsys):
    step = dict(type="RandomFlip", prob="x")
    with pytest.raises(ValueError), user_errors():
        TRANSFORMS.build(step)
    assert "error: What the config names could not be built (ValueError" in capsys.readouterr().err
    with pytest.raises(ZeroDivisionError), user_errors():
        1 / 0  # noqa: B018
    assert "error: ZeroDivisionError: division by zero. Nothing" in capsys.readouterr().err
