"""A detector and a segmenter tested by two processes score what one gives them."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys

import numpy as np
import pytest
from dense_data import write_ade, write_coco

from semaim_mm.runtime.launch import build_runner, load_config

pytestmark = pytest.mark.slow
DET, SEG = "configs/det/mask-rcnn_tiny_vitdet.py", "configs/seg/upernet_tiny.py"


def result_of(config, checkpoint, root, work_dir, processes: int) -> dict:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "torch.distributed.run", f"--nproc_per_node={processes}"]
    command += [f"--master_port={port}", "tools/test.py", config, checkpoint]
    command += ["--launcher", "pytorch", "--work-dir", work_dir, "--cfg-options"]
    command += [f"data_root={root}", "test_dataloader.batch_size=1"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(
        [*map(str, command)], env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return json.loads((work_dir / "result.json").read_text())


@pytest.mark.parametrize(("config", "headline"), [(DET, "bbox_AR@100"), (SEG, "mIoU")])
def test_two_processes_score_as_one_does(config, headline, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    # five images: two processes can't share them evenly, and no image may count twice
    if config == DET:
        root = write_coco(tmp_path / "coco", ["animal", "food", "vehicle"], count=5)
    else:
        root = write_ade(tmp_path / "ade", classes=4, count=5)
    options = {
        "data_root": str(root),
        "model.backbone.init_cfg": None,
        "total_batch": 2,
        "train_cfg.max_iters": 1,
        "param_scheduler.0.end": 1,
        "param_scheduler.1.begin": 0,
        "default_hooks.checkpoint.interval": 1,
        "val_dataloader": None,
        "val_cfg": None,
        "val_evaluator": None,
        "train_dataloader.batch_size": 2,
        "train_dataloader.num_workers": 0,
    }
    if config == DET:
        options["param_scheduler.1.milestones"] = []
    build_runner(load_config(config, options, str(tmp_path / "run"))).train()
    one, two = (
        result_of(config, tmp_path / "run" / "iter_1.pth", root, tmp_path / f"by{n}", n)
        for n in (1, 2)
    )
    assert one["n_evaluated"] == two["n_evaluated"] == 5
    assert two["hardware"]["world_size"] == 2 and one["fingerprint"] == two["fingerprint"]
    assert one["metrics"][headline]["value"] > 0
    for name, metric in one["metrics"].items():
        assert two["metrics"][name]["value"] == pytest.approx(metric["value"], abs=1e-6), name
    if one["outcomes"]:
        ours, theirs = (np.load(tmp_path / f"by{n}" / one["outcomes"]) for n in (1, 2))
        assert all((ours[key] == theirs[key]).all() for key in ours)
