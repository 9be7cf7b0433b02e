"""tools/train.py as a user runs it: a tiny pretraining, its log, and what it refuses to start."""

from __future__ import annotations

import json
import os
import runpy
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from uuid import uuid4

import pytest
import torch

ROOT = Path(__file__).resolve().parents[2]
TOOL = ROOT / "tools" / "train.py"
CONFIG = ROOT / "configs" / "pretrain" / "semaim_tiny.py"
ARCH = "model.backbone.arch"
SMALL = {
    "total_batch": 8,
    "base_lr": 0.16,
    "train_dataloader.batch_size": 4,
    "train_dataloader.num_workers": 0,
    "train_dataloader.persistent_workers": False,
    "val_dataloader.num_workers": 0,
    "val_cfg.mean_dataloader.num_workers": 0,
    "train_cfg.max_epochs": 2,
    "param_scheduler.0.end": 0.5,
    "param_scheduler.1.begin": 0.5,
    "default_hooks.logger.interval": 1,
    f"{ARCH}.embed_dims": 32,
    f"{ARCH}.feedforward_channels": 64,
}


@pytest.fixture(scope="module")
def data(tmp_path_factory, make_images) -> Path:
    """32 images to train on and 8 held out."""
    root = tmp_path_factory.mktemp("data")
    make_images(root / "pretrain", 32, size=64)
    make_images(root / "pretrain_val", 8, size=64, seed=1)
    return root


def arguments(data: Path, work_dir: Path, **changes) -> list[str]:
    # mmengine names runs by the second, and gives runs of one name one logger
    options = SMALL | {"data_root": data, "experiment_name": uuid4().hex} | changes
    pairs = [f"{key}={value}" for key, value in options.items()]
    return [str(CONFIG), "--work-dir", str(work_dir), "--cfg-options", *pairs]


def run_here(monkeypatch, capfd, args: list[str]) -> SimpleNamespace:
    """The script in this process -> status, out, err."""
    monkeypatch.setattr(sys, "argv", [str(TOOL), *args])
    status = 0
    try:
        runpy.run_path(str(TOOL), run_name="__main__")
    except SystemExit as stopped:
        status = stopped.code
    return SimpleNamespace(status=status, **capfd.readouterr()._asdict())


def records(work_dir: Path, *keys: str) -> list[dict]:
    """The lines of the run's JSON log that hold all ``keys``."""
    (log,) = work_dir.glob("*/vis_data/scalars.json")
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    return [line for line in lines if set(keys) <= set(line)]


@pytest.fixture(scope="module")
def finished(data, tmp_path_factory) -> SimpleNamespace:
    """A run in a process of its own -> its output and work dir."""
    work_dir = tmp_path_factory.mktemp("run")
    run = subprocess.run(
        [sys.executable, str(TOOL), *arguments(data, work_dir)],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert run.returncode == 0, run.stderr
    return SimpleNamespace(work_dir=work_dir, out=run.stdout + run.stderr)


def test_a_run_logs_loss_lr_gradient_norm_and_speed_in_json_lines(finished):
    steps = records(finished.work_dir, "loss", "lr", "images_per_s", "time", "data_time")
    assert [line["step"] for line in steps] == list(range(1, 17))
    losses = [line["loss"] for line in steps]
    assert all(0.5 < loss < 3 for loss in losses), losses
    assert sum(losses[-4:]) < sum(losses[:4]), "nothing was learnt"
    assert all(line["images_per_s"] > 0 for line in steps)
    # the first step accumulates, so it has no norm yet
    assert all(line["grad_norm"] > 0 for line in steps[1:])
    assert max(line["lr"] for line in steps) == pytest.approx(0.16 * 8 / 256)


def test_plan_and_precision_are_printed_before_the_first_step(finished):
    first_step = finished.out.index("Epoch(train)")
    plan = "total batch 8 = 1 process(es) x 4 images x 2 accumulated step(s); lr 0.005 = base_lr"
    precision = "fp32" if not torch.cuda.is_available() else "bf16"
    for line in (plan, f"precision {precision} (config: auto) on "):
        assert 0 < finished.out.find(line) < first_step, line
    assert "eta:" in finished.out


def test_the_held_out_loss_stands_beside_that_of_the_mean_predictor(finished):
    last = records(finished.work_dir, "mean_predictor_loss")[-1]
    assert 0.5 < last["mean_predictor_loss"] < 1.1
    assert 0.5 < last["loss"] < 3


def test_the_checkpoint_holds_the_whole_model(finished):
    content = torch.load(finished.work_dir / "epoch_2.pth", weights_only=False)
    state = content["state_dict"]
    assert state["backbone.layers.3.attn.qkv.weight"].shape == (96, 32)
    assert state["neck.layers.1.attn.q.weight"].isfinite().all()
    assert state["head.fc2.weight"].shape == (8 * 8 * 3, 128)


def test_the_same_seed_gives_the_same_losses_and_another_seed_others(
    finished, data, tmp_path, monkeypatch, capfd
):
    first = [line["loss"] for line in records(finished.work_dir, "loss", "lr")]
    for seed, equal in ((0, True), (1, False)):
        work_dir = tmp_path / str(seed)
        options = {"randomness.seed": seed, "train_cfg.max_epochs": 2}
        run = run_here(monkeypatch, capfd, arguments(data, work_dir, **options))
        assert run.status == 0, run.err
        again = [line["loss"] for line in records(work_dir, "loss", "lr")]
        assert (again == first) == equal, f"seed {seed}: {again} after {first}"


def test_a_warm_up_of_one_iteration_still_ends_at_the_full_learning_rate(
    data, tmp_path, monkeypatch, capfd
):
    """0.16 epochs, the config's own warm-up, are one of these eight iterations."""
    warmup = {"param_scheduler.0.end": 0.16, "param_scheduler.1.begin": 0.16}
    run = run_here(monkeypatch, capfd, arguments(data, tmp_path, **warmup))
    assert run.status == 0, run.err
    rates = [line["lr"] for line in records(tmp_path, "lr")]
    assert max(rates) > 0.9 * 0.16 * 8 / 256


def assert_refused(run: SimpleNamespace, *words: str) -> None:
    """Exit status 2 and one sentence, before any step."""
    assert run.status == 2
    errors = [line for line in run.err.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1, run.err
    assert "Traceback" not in run.err + run.out
    assert "Epoch(train)" not in run.out + run.err
    for word in words:
        assert word in errors[0]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"total_batch": 10}, ["total_batch=10 can't be made of steps of 4", "would be 2.5"]),
        ({"total_batch": 64}, ["has 32 images, fewer than one total batch of 64"]),
        ({"train_dataloader.dataset.dataset.split": "absent"}, ["no image folder at", "absent"]),
        ({"model.neck.query_depth": 3}, ["query_depth=3 does not divide depth=4"]),
        ({"model.backbone.img_size": 65}, ["img_size=65 is not a multiple of patch_size=8"]),
        ({"model.order.type": "SpiralOrder"}, ["no generation order 'SpiralOrder'"]),
        ({"precision": "fp8"}, ["precision='fp8' is none of auto, auto-fp16, fp32, bf16, fp16"]),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_a_wrong_value_stops_before_the_first_step_with_one_sentence(
    changes, words, data, tmp_path, monkeypatch, capfd
):
    run = run_here(monkeypatch, capfd, arguments(data, tmp_path / "run", **changes))
    assert_refused(run, *words)
    assert not list(tmp_path.rglob("*.pth"))


@pytest.mark.skipif(torch.cuda.is_available(), reason="fp16 is refused on the CPU alone")
def test_half_precision_on_the_cpu_stops_before_the_first_step(data, tmp_path, monkeypatch, capfd):
    run = run_here(monkeypatch, capfd, arguments(data, tmp_path, precision="fp16"))
    assert_refused(run, "precision='fp16' needs an accelerator")


def test_a_missing_config_is_refused(monkeypatch, capfd):
    run = run_here(monkeypatch, capfd, ["configs/absent.py"])
    assert_refused(run, "no config file at configs/absent.py")


@pytest.mark.parametrize("workers", [0, 1])
def test_an_image_that_can_not_be_read_stops_the_run_and_is_named(
    workers, tmp_path, monkeypatch, capfd, make_images
):
    make_images(tmp_path / "pretrain", 32, size=64)
    make_images(tmp_path / "pretrain_val", 2, size=64)
    broken = tmp_path / "pretrain" / "005.png"
    broken.write_bytes(broken.read_bytes()[:200])
    options = {"train_dataloader.num_workers": workers}
    run = run_here(monkeypatch, capfd, arguments(tmp_path, tmp_path / "run", **options))
    assert run.status == 2
    errors = [line for line in run.err.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert f"The image {broken} can't be read" in errors[0]
    assert "Traceback" not in run.err
