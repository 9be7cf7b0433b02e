"""Killed and resumed runs end bit by bit as undisturbed ones: rows 1 to 3."""

from __future__ import annotations

import json

import fault_runs as runs
import pytest
import shipped_leaves as shipped

pytestmark = pytest.mark.slow

LEAVES = {
    "pretrain": (shipped.PRETRAIN, shipped.pretraining),
    "finetune": (shipped.FINETUNE, shipped.finetuning),
    "detect": (shipped.DETECT, shipped.detection),
    "segment": (shipped.SEGMENT, shipped.segmentation),
}
EVERY_2 = {"default_hooks.checkpoint.by_epoch": False, "default_hooks.checkpoint.interval": 2}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return tmp_path_factory.mktemp("faults")


@pytest.fixture(autouse=True)
def own_cache(place, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(place / "cache"))


@pytest.fixture(scope="module")
def undisturbed(place):
    """``undisturbed('pretrain')`` -> the leaf, its options, and the work dir of a whole run."""
    done = {}

    def run(name: str):
        if name not in done:
            leaf, options = LEAVES[name]
            ended = runs.train(leaf, options(place), place / f"whole-{name}")
            assert ended.code == 0, ended.out[-3000:]
            done[name] = (leaf, options, place / f"whole-{name}")
        return done[name]

    return run


@pytest.mark.parametrize("name", LEAVES)
def test_a_run_killed_after_an_epoch_or_a_save_ends_as_an_undisturbed_one(
    name, undisturbed, place, tmp_path
):
    leaf, options, whole = undisturbed(name)
    steps = runs.steps(whole)
    samples = [len(line["samples"]) for line in steps]
    assert set(samples) == {samples[0]}, "batches of one size"
    # right after the save that stands at a third of the run
    an_epoch = {"pretrain": 8, "finetune": 6}.get(name, 4)
    ended = runs.train(leaf, options(place), tmp_path, runs.at_iteration(an_epoch, runs.killed))
    assert ended.code == -9
    assert len(runs.steps(tmp_path)) == an_epoch
    ended = runs.train(leaf, options(place), tmp_path)
    assert ended.code == 0, ended.out[-3000:]
    runs.assert_same_end(tmp_path, whole)


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("name", LEAVES)
def test_a_run_killed_within_an_epoch_replays_and_skips_nothing(
    name, workers, undisturbed, place, tmp_path
):
    leaf, options, whole = undisturbed(name)
    options = options(place, workers) | (EVERY_2 if name in ("pretrain", "finetune") else {})
    # two steps, so one update, after the last save in an epoch of eight or six steps
    number = {"pretrain": 14, "finetune": 11}.get(name, 5)
    ended = runs.train(leaf, options, tmp_path, runs.at_iteration(number, runs.killed))
    assert ended.code == -9, ended.out[-3000:]
    ended = runs.train(leaf, options, tmp_path)
    assert ended.code == 0, ended.out[-3000:]
    assert "resumed epoch" in ended.out
    runs.assert_same_end(tmp_path, whole)
    if name == "pretrain":
        epoch = [tuple(key) for line in runs.steps(tmp_path)[8:16] for key in line["samples"]]
        assert len(epoch) == 16 == len(set(epoch)), "every sample of the second epoch once"
        assert {key[0] for key in epoch} == {1}


def at_the_last_validation(runner) -> bool:
    return runner.iter == runner.max_iters


@pytest.mark.parametrize("name", LEAVES)
def test_a_run_killed_in_its_last_validation_is_incomplete_until_it_is_done(
    name, undisturbed, place, tmp_path
):
    leaf, options, whole = undisturbed(name)
    fault = runs.at("before_val_epoch", at_the_last_validation, runs.killed)
    assert runs.train(leaf, options(place), tmp_path, fault).code == -9
    status = json.loads((tmp_path / "status.json").read_text())
    assert status["status"] == "incomplete"
    before = (tmp_path / "steps.jsonl").read_text()
    ended = runs.train(leaf, options(place), tmp_path)
    assert ended.code == 0, ended.out[-3000:]
    assert "was not finished: doing it now" in ended.out
    assert (tmp_path / "steps.jsonl").read_text() == before, "it trained again"
    status = json.loads((tmp_path / "status.json").read_text())
    assert status == json.loads((whole / "status.json").read_text())
    assert status["status"] == "complete" and status["validation"]["metrics"]
    again = runs.train(leaf, options(place), tmp_path)
    assert again.code == 0 and "was not finished" not in again.out.removeprefix(ended.out)
    assert json.loads((tmp_path / "status.json").read_text()) == status


def test_random_states_come_back_as_they_were_saved(undisturbed, place, tmp_path):
    import random

    import numpy as np
    import torch

    from semaim_mm.runtime.reliable.random_states import random_states, restore_random_state

    states = random_states()
    drawn = random.random(), np.random.rand(), np.random.randn(), torch.rand(3)
    restore_random_state(states)
    again = random.random(), np.random.rand(), np.random.randn(), torch.rand(3)
    assert drawn[:3] == again[:3] and torch.equal(drawn[3], again[3])
    _, _, whole = undisturbed("pretrain")
    (saved,) = runs.newest(whole)["random_states"]
    assert saved.keys() == {"python", "numpy", "torch", "cuda"}
