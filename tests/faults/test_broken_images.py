"""An image that can't be decoded, under loader workers: row 15 (every kind: test_load_image.py)."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import fault_runs as runs
import pytest
import shipped_leaves as shipped
import torch
from PIL import Image

pytestmark = pytest.mark.slow

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


@pytest.mark.parametrize("leaf", LEAVES, indirect=True)
def test_training_stops_with_a_sentence(leaf, tmp_path):
    path, options, image = leaf
    ended = runs.train(path, options, tmp_path / "run")
    assert ended.code == 2, ended.out[-2000:]
    said = [line for line in ended.out.splitlines() if line.startswith("error: ")]
    assert len(said) == 1 and f"{image} can't be read" in said[0]


@pytest.mark.parametrize("leaf", LEAVES, indirect=True)
def test_with_a_budget_it_goes_on_and_says_which_were_left_out(leaf, tmp_path):
    path, options, image = leaf
    ended = runs.train(path, options | {"unreadable_budget": 1}, tmp_path / "run")
    assert ended.code == 0, ended.out[-2000:]
    assert re.search(rf"WARNING.*{image.name}", ended.out)
    last = (tmp_path / "run" / "last_checkpoint").read_text().strip()
    meta = torch.load(last, weights_only=False)["meta"]
    assert [name.split("/")[-1] for name in meta["skipped_images"]] == [image.name]


def test_two_ranks_count_what_either_skipped(tmp_path):
    options = shipped.pretraining(tmp_path)
    options |= {"unreadable_budget": 1, "train_dataloader.batch_size": 2}
    image = sorted((tmp_path / "pretrain").rglob("*.png"))[0]
    image.write_bytes(b"")
    run = tmp_path / "run"
    ended = runs.train_ranks(shipped.PRETRAIN, options, run, [None, None])
    assert [one.code for one in ended] == [0, 0], ended[0].out[-2000:]
    last = (run / "last_checkpoint").read_text().strip()
    meta = torch.load(last, weights_only=False)["meta"]
    assert [name.split("/")[-1] for name in meta["skipped_images"]] == [image.name]


def test_evaluation_stops_whatever_the_budget(tmp_path):
    options = shipped.finetuning(tmp_path) | {"unreadable_budget": 99}
    image = sorted((tmp_path / "val").rglob("*.png"))[0]
    shutil.copy(image, tmp_path / "kept.png")
    image.write_bytes(b"")
    ended = runs.train(shipped.FINETUNE, options, tmp_path / "run")
    assert ended.code == 2 and f"{image} can't be read" in ended.out


def half(path: Path) -> None:
    """Cut a file's pixels short; its header stays whole."""
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


def said(ended: runs.Ended) -> str:
    """The sentence, to the end of the output."""
    assert ended.code == 2 and "Traceback" not in ended.out, ended.out[-3000:]
    return ended.out[ended.out.index("error: ") :]


@pytest.fixture
def ade(tmp_path):
    """-> the segmenter's options, and where its images and label maps lie."""
    options = shipped.segmentation(tmp_path) | {"total_batch": 2}
    return options, tmp_path / "ade" / "images", tmp_path / "ade" / "annotations"


@pytest.mark.parametrize("policy", ["stop", "drop"])
def test_faulty_pairs_of_a_segmenter_stop_it_or_are_left_out_as_the_config_says(
    policy, ade, tmp_path
):
    options, images, maps = ade
    (images / "training" / "000000.jpg").write_bytes(b"")
    half(maps / "training" / "000001.png")
    (maps / "training" / "000002.png").unlink()
    small = maps / "training" / "000003.png"
    with Image.open(small) as label_map:
        label_map.resize((40, 40), Image.Resampling.NEAREST).save(small)
    ended = runs.train(shipped.SEGMENT, options | {"bad_annotations": policy}, tmp_path / "run")
    told = ended.out if policy == "drop" else said(ended)
    for words in (
        "images or label maps that can't be read: 2 (000000.jpg, 000001.png)",
        "000002",
        "label maps of another size than their image: 1 (000003.png, 40 x 40 for 96 x 96)",
    ):
        assert words in told
    if policy == "drop":
        assert ended.code == 0, ended.out[-3000:]
        dropped = runs.newest(tmp_path / "run")["meta"]["training"]["dropped"]
        assert sum(dropped.values()) == 4


@pytest.mark.parametrize("budget", [0, 1])
def test_a_segmenters_image_that_breaks_off_is_named_or_counted(budget, ade, tmp_path):
    options, images, _ = ade
    half(images / "training" / "000001.jpg")
    ended = runs.train(shipped.SEGMENT, options | {"unreadable_budget": budget}, tmp_path / "run")
    if not budget:
        assert "000001.jpg can't be read" in said(ended)
        return
    assert ended.code == 0, ended.out[-3000:]
    skipped = runs.newest(tmp_path / "run")["meta"]["skipped_images"]
    assert [Path(name).name for name in skipped] == ["000001.jpg"]


@pytest.mark.parametrize("kind", ["image", "label map"])
def test_a_segmenters_evaluation_stops_whatever_the_policy(kind, ade, tmp_path):
    options, images, maps = ade
    name = "000001.jpg" if kind == "image" else "000001.png"
    half((images if kind == "image" else maps) / "validation" / name)
    lenient = {"unreadable_budget": 9, "bad_annotations": "drop"}
    ended = runs.train(shipped.SEGMENT, options | lenient, tmp_path / "run")
    assert name in said(ended)
