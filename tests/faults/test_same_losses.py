"""One seed gives one run on the CPU for any number of loader workers, and another seed another."""

from __future__ import annotations

import fault_runs as runs
import pytest
import shipped_leaves as shipped

LEAVES = {
    "pretrain": (shipped.PRETRAIN, shipped.pretraining),
    "finetune": (shipped.FINETUNE, shipped.finetuning),
    "detect": (shipped.DETECT, shipped.detection),
    "segment": (shipped.SEGMENT, shipped.segmentation),
}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return tmp_path_factory.mktemp("same")


@pytest.fixture(autouse=True)
def own_cache(place, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(place / "cache"))


def losses(name: str, place, work_dir, workers: int, **more) -> list:
    leaf, options = LEAVES[name]
    ended = runs.train(leaf, options(place, workers) | more, work_dir)
    assert ended.code == 0, ended.out[-3000:]
    return runs.steps(work_dir)


@pytest.mark.slow
@pytest.mark.parametrize("name", LEAVES)
def test_one_seed_gives_the_same_losses_for_any_number_of_workers(name, place, tmp_path):
    first = losses(name, place, tmp_path / "first", workers=0)
    assert losses(name, place, tmp_path / "again", workers=0) == first
    assert losses(name, place, tmp_path / "more", workers=3) == first
    if name == "pretrain":
        other = losses(name, place, tmp_path / "other", workers=0, **{"randomness.seed": 1})
        assert all(a["loss"] != b["loss"] for a, b in zip(first, other, strict=True))


@pytest.mark.slow
def test_deterministic_algorithms_change_nothing_on_the_cpu(place, tmp_path):
    first = losses("pretrain", place, tmp_path / "first", workers=0)
    fixed = {"randomness.deterministic": True}
    assert losses("pretrain", place, tmp_path / "fixed", workers=0, **fixed) == first
