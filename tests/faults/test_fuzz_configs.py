"""Configs of a pretraining, mutated at random: one step runs, or an InputError names the key."""

from __future__ import annotations

import pytest
import torch
from conftest import TINY, merge
from hypothesis import example, given, settings
from hypothesis import strategies as st
from mmpretrain.registry import MODELS
from test_fuzz_files import places, put

from semaim_mm.errors import InputError
from semaim_mm.pretrain.draws import Draws
from semaim_mm.pretrain.order import ORDERS, build_order
from semaim_mm.runtime.launch import build_runner, load_config
from semaim_mm.runtime.model_keys import check_keys, check_model
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


def one_step(cfg) -> None:
    """What the runner does with a model's config, and one step of two images."""
    check_model(cfg)
    model = MODELS.build(cfg)
    model.init_weights()
    size = model.backbone.patch_resolution
    patch = model.backbone.patch_size
    images = torch.randn(2, 3, *(side * patch for side in size))
    loss = model.loss(images)["loss"]
    assert loss.ndim == 0
    loss.backward()


def runs_or_names(cfg, where) -> None:
    try:
        one_step(cfg)
    except InputError as error:
        # a depth may be told where it no longer goes with another part's
        keys = {"depth", *(key for key in where if isinstance(key, str))} - {"type"}
        said = str(error)
        assert any(key in said for key in keys) and len(said) > 30, (where, said)


@pytest.mark.parametrize("base", BASES, ids=["plain", "multi-centre, ema"])
def test_the_configs_that_are_mutated_run(base):
    one_step(base)


@settings_of(150)
@given(data=st.data())
def test_a_key_of_any_value_runs_or_is_named(data):
    base = data.draw(st.sampled_from(BASES))
    where = data.draw(st.sampled_from(KEYS[BASES.index(base)]))
    value = data.draw(VALUES)
    runs_or_names(put(base, where, value), where)


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
    runs_or_names(cfg, where)
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
