"""An image that can't be decoded, under loader workers: row 15 (every kind: test_load_image.py)."""

from __future__ import annotations

import re
import shutil

import fault_runs as runs
import pytest
import shipped_leaves as shipped
import torch

# building the detector takes most of half a minute
CASES = ["pretraining", "finetuning", pytest.param("detection", marks=pytest.mark.slow)]
LEAVES = {
    "pretraining": (shipped.PRETRAIN, shipped.pretraining, "pretrain"),
    "finetuning": (shipped.FINETUNE, shipped.finetuning, "train"),
    "detection": (shipped.DETECT, shipped.detection, "coco/train"),
}


@pytest.fixture
def leaf(request, tmp_path):
    """-> a leaf, its options, and one of its training images cut short."""
    path, options, folder = LEAVES[request.param]
    options = options(tmp_path, workers=2) | {"train_dataloader.persistent_workers": False}
    image = sorted(p for p in (tmp_path / folder).rglob("*") if p.is_file())[1]
    image.write_bytes(image.read_bytes()[:150])
    return path, options, image


@pytest.mark.parametrize("leaf", CASES, indirect=True)
def test_training_stops_with_a_sentence(leaf, tmp_path):
    path, options, image = leaf
    ended = runs.train(path, options, tmp_path / "run")
    assert ended.code == 2, ended.out[-2000:]
    said = [line for line in ended.out.splitlines() if line.startswith("error: ")]
    assert len(said) == 1 and f"{image} can't be read" in said[0]


@pytest.mark.parametrize("leaf", CASES, indirect=True)
def test_with_a_budget_it_goes_on_and_says_which_were_left_out(leaf, tmp_path):
    path, options, image = leaf
    ended = runs.train(path, options | {"unreadable_budget": 1}, tmp_path / "run")
    assert ended.code == 0, ended.out[-2000:]
    assert re.search(rf"WARNING.*{image.name}", ended.out)
    last = (tmp_path / "run" / "last_checkpoint").read_text().strip()
    meta = torch.load(last, weights_only=False)["meta"]
    assert [name.split("/")[-1] for name in meta["skipped_images"]] == [image.name]


def test_evaluation_stops_whatever_the_budget(tmp_path):
    options = shipped.finetuning(tmp_path) | {"unreadable_budget": 99}
    image = sorted((tmp_path / "val").rglob("*.png"))[0]
    shutil.copy(image, tmp_path / "kept.png")
    image.write_bytes(b"")
    ended = runs.train(shipped.FINETUNE, options, tmp_path / "run")
    assert ended.code == 2 and f"{image} can't be read" in ended.out
