"""Weights that are not the model's own: refused before the first step, keys listed, row 17."""

from __future__ import annotations

import contextlib

import fault_runs as runs
import pytest
import shipped_leaves as shipped
import torch

from semaim_mm.runtime.evaluate import evaluate
from semaim_mm.runtime.launch import build_runner, load_config, user_errors

LEAVES = {
    "classification": (shipped.FINETUNE, shipped.finetuning),
    "detection": (shipped.DETECT, shipped.detection),
    "segmentation": (shipped.SEGMENT, shipped.segmentation),
}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return tmp_path_factory.mktemp("weights")


@pytest.fixture(scope="module")
def pretrained(place):
    ended = runs.train(shipped.PRETRAIN, shipped.pretraining(place), place / "pretrained")
    assert ended.code == 0, ended.out[-3000:]
    return place / "pretrained"


@pytest.fixture(scope="module")
def own(place):
    """-> a leaf's path, options, and its untrained model's state dict, built once."""
    built = {}

    def of(case):
        if case not in built:
            leaf, options = LEAVES[case]
            given = options(place / case) | {"log_level": "ERROR"}
            cfg = load_config(leaf, given, str(place / case / "built"))
            built[case] = leaf, given, build_runner(cfg).model.state_dict()
        return built[case]

    return of


def drop_two(state):
    gone = [key for key in state if "head" in key][:2]
    return {k: v for k, v in state.items() if k not in gone}, [f"it lacks 2 of {len(state)}", *gone]


def add_one(state):
    return state | {"extra.weight": torch.ones(1)}, ["no place for 1 of its own (extra.weight)"]


def cut(state):
    key = next(key for key, value in state.items() if "head" in key and value.dim() > 1)
    short = state[key][:1].clone()
    return state | {key: short}, ["1 have another shape", f"{key} {tuple(short.shape)}, here"]


def unrelated(state):
    return {"stem.conv.weight": torch.ones(3, 3)}, [f"lacks {len(state)} of", "stem.conv.weight"]


def assert_refused(code, out, *words) -> None:
    assert code == 2, out[-3000:]
    errors = [line for line in out.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1 and "Traceback" not in out, out[-3000:]
    assert "(train)" not in out and "(test)" not in out
    for word in words:
        assert word in errors[0]


@pytest.mark.parametrize(
    ("case", "spoil"),
    [
        *(("classification", spoil) for spoil in (drop_two, add_one, cut, unrelated)),
        pytest.param("detection", cut, marks=pytest.mark.slow),
        pytest.param("segmentation", drop_two, marks=pytest.mark.slow),
    ],
)
def test_an_evaluation_refuses_what_is_not_its_model(spoil, case, own, tmp_path, capfd):
    leaf, options, state = own(case)
    state, words = spoil(state)
    torch.save(dict(state_dict=state), tmp_path / "given.pth")
    code = 0
    try:
        with user_errors():  # as tools/test.py has it
            evaluate(leaf, str(tmp_path / "given.pth"), str(tmp_path / "run"), options)
    except SystemExit as left:
        code = left.code
    assert_refused(code, "".join(capfd.readouterr()), "given.pth", *words)
    assert not (tmp_path / "run" / "result.json").exists()


@pytest.mark.slow
def test_frozen_features_refuse_half_a_backbone(pretrained, place, own, tmp_path, capfd):
    own("classification")  # its images
    state = runs.newest(pretrained)["state_dict"]
    state = {
        k: v
        for k, v in state.items()
        if k.startswith("backbone.") and not k.startswith("backbone.layers.1.")
    }
    torch.save(state, tmp_path / "half.pth")
    options = {"data_root": str(place / "classification"), "log_level": "ERROR"}
    options |= {k: v for k, v in shipped.SMALL.items() if ".arch." in k}
    options |= {"test_evaluator.ks": [1], "test_evaluator.headline_k": 1}
    with contextlib.suppress(SystemExit), user_errors():
        evaluate("configs/cls/knn_tiny.py", str(tmp_path / "half.pth"), str(tmp_path), options)
    out = "".join(capfd.readouterr())
    assert "error: " in out and "half.pth lacks 12 of the backbone's" in out, out
    assert "layers.* (12)" in out and "Traceback" not in out
    assert not (tmp_path / "result.json").exists()


def resumed(place, tmp_path, content, **more):
    torch.save(content, tmp_path / "given.pth")
    options = shipped.pretraining(place) | more
    return runs.train(
        shipped.PRETRAIN, options, tmp_path / "run", resume=str(tmp_path / "given.pth")
    )


@pytest.mark.parametrize("spoil", [drop_two, cut])
def test_a_pretraining_does_not_go_on_from_what_is_not_its_model(
    spoil, pretrained, place, tmp_path
):
    content = runs.newest(pretrained)
    state, words = spoil(content["state_dict"])
    ended = resumed(place, tmp_path, content | dict(state_dict=state))
    assert_refused(ended.code, ended.out, "given.pth", *words)


@pytest.mark.slow
def test_a_pretraining_does_not_take_another_arch_from_a_checkpoint(pretrained, place, tmp_path):
    """The record of its model in the checkpoint must not change what the config asks for."""
    wider = {"model.backbone.arch.embed_dims": 64}
    ended = resumed(place, tmp_path, runs.newest(pretrained), **wider)
    assert_refused(ended.code, ended.out, "another shape", "backbone.cls_token (1, 1, 48), here")


@pytest.mark.slow
@pytest.mark.parametrize("alone", [dict, lambda state: dict(state_dict=state)])
def test_weights_alone_are_where_a_run_starts_not_what_it_goes_on_from(
    alone, pretrained, place, tmp_path
):
    ended = resumed(place, tmp_path, alone(runs.newest(pretrained)["state_dict"]))
    assert_refused(ended.code, ended.out, "given.pth can't be resumed from")
