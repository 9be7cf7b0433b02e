"""From training to a strip by the tools: the raw-pixels leaf completes pictures."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import write_images
from PIL import Image

from semaim_mm.analysis.completion import GIVEN
from semaim_mm.analysis.rollout import rollout
from semaim_mm.analysis.scenes import as_batch, read_scenes
from semaim_mm.report.order_data import load_model

ROOT = Path(__file__).resolve().parents[2]
LEAF = "configs/pretrain/semaim_tiny_raw-pixels.py"
SHOWN = 3
OPTIONS = {
    "base_lr": 0.05,
    "train_cfg.max_epochs": 20,
    "train_cfg.val_interval": 20,
    "train_dataloader.num_workers": 0,
    "train_dataloader.persistent_workers": False,
    "val_dataloader.num_workers": 0,
    "val_cfg.mean_dataloader.num_workers": 0,
    "param_scheduler.0.end": 2,
    "param_scheduler.1.begin": 2,
}


def run_tool(tool: str, *words: str | Path) -> str:
    done = subprocess.run(
        [sys.executable, str(ROOT / "tools" / tool), *map(str, words)],
        cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True,
        timeout=400, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def write_annotations(root: Path) -> Path:
    """Pictures of the kind that is trained on, each with a square for an object."""
    write_images(root / "val", SHOWN, size=64, seed=9)
    square = [16, 16, 48, 16, 48, 48, 16, 48]
    content = dict(
        images=[dict(id=n, file_name=f"{n:03d}.png", width=64, height=64) for n in range(SHOWN)],
        annotations=[
            dict(id=n, image_id=n, category_id=1, segmentation=[square], bbox=[16, 16, 32, 32],
                 area=1024, iscrowd=0)
            for n in range(SHOWN)
        ],
        categories=[dict(id=1, name="square")],
    )  # fmt: skip
    path = root / "annotations" / "instances_val.json"
    path.parent.mkdir()
    path.write_text(json.dumps(content))
    return path


@pytest.mark.slow
def test_a_few_steps_of_training_complete_pictures_better_than_their_mean_colour(tmp_path):
    write_images(tmp_path / "data" / "pretrain", 64, size=64)
    write_images(tmp_path / "data" / "pretrain_val", 4, size=64, seed=1)
    options = OPTIONS | {"data_root": tmp_path / "data"}
    words = [f"{key}={value}" for key, value in options.items()]
    run_tool("train.py", LEAF, "--work-dir", tmp_path / "run", "--cfg-options", *words)
    checkpoint = tmp_path / "run" / "epoch_20.pth"

    annotations = write_annotations(tmp_path / "coco")
    told = run_tool(
        "analyze.py", LEAF, checkpoint, "--only", "generation", "--annotations", annotations
    )
    strip = tmp_path / "run" / "analysis" / "generation.png"
    assert told.split()[-1] == str(strip)
    image = np.asarray(Image.open(strip).convert("RGB")).astype(float)
    cells = [
        cell
        for row in np.array_split(image, SHOWN, axis=0)
        for cell in np.array_split(row, len(GIVEN) + 1, axis=1)
    ]
    assert all(cell[30:-30, 30:-30].std() > 2 for cell in cells), "every cell shows a picture"

    told = json.loads(strip.with_suffix(".json").read_text())
    model = load_model(checkpoint, ROOT / LEAF)
    imgs = as_batch(model, read_scenes(annotations, (64, 64), 8))
    order, errors = torch.arange(64).expand(SHOWN, -1), {}
    for part in GIVEN:
        _, completed = rollout(model, imgs, order, round(64 * part))
        free = 8 * int(8 * part)  # rows of pixels that were given, in raster order
        assert torch.equal(completed[:, :, :free], imgs[:, :, :free])
        errors[part] = (completed - imgs)[:, :, free:].square().mean().item()
        assert told[str(part)]["completed"]["value"] == pytest.approx(errors[part], rel=1e-3)
    given = imgs[:, :, :32].mean(dim=(2, 3), keepdim=True)
    assert errors[0.5] < 0.7 * (given - imgs)[:, :, 32:].square().mean().item()
    assert errors[0.75] < errors[0.0]
