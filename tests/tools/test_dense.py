"""Detector and segmenter through the tools: train, save, load, test; the result file."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from dense_data import write_ade, write_coco

from semaim_mm.errors import InputError
from semaim_mm.leaderboard.table import leaderboard
from semaim_mm.runtime.evaluate import evaluate
from semaim_mm.runtime.launch import build_runner, load_config, set_resume
from semaim_mm.runtime.spread import spread_keys
from semaim_mm.vit import SemAIMViT

ROOT = Path(__file__).resolve().parents[2]
DET, SEG = "configs/det/mask-rcnn_tiny_vitdet.py", "configs/seg/upernet_tiny.py"
ARCH = dict(embed_dims=96, num_layers=4, num_heads=4, feedforward_channels=384)
SCRATCH = {"model.backbone.init_cfg": None}
CLASSES = ["animal", "food", "vehicle"]


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def coco(tmp_path_factory):
    return write_coco(tmp_path_factory.mktemp("data") / "coco", CLASSES, count=4)


@pytest.fixture(scope="module")
def ade(tmp_path_factory):
    return write_ade(tmp_path_factory.mktemp("data") / "ade", classes=4, count=4)


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory):
    """Random weights of a tiny SemAIM in a file, with CLS and final norm as pretraining has."""
    torch.manual_seed(0)
    backbone = SemAIMViT(ARCH, img_size=64, patch_size=8)
    backbone.init_weights()
    path = tmp_path_factory.mktemp("method") / "epoch_1.pth"
    torch.save({f"backbone.{k}": v for k, v in backbone.state_dict().items()}, path)
    return path


def options(root: Path, pretrained: Path | None = None, **more) -> dict:
    found = {
        "data_root": str(root),
        "total_batch": 2,
        "train_cfg.max_iters": 2,
        "train_cfg.val_interval": 2,
        "default_hooks.checkpoint.interval": 2,
        "param_scheduler.0.end": 1,
        "param_scheduler.1.begin": 0,
        "model.backbone.init_cfg.checkpoint": None if pretrained is None else str(pretrained),
    }
    if root.name == "coco":
        found["param_scheduler.1.milestones"] = [1]
    for split in ("train", "val", "test"):
        loader = f"{split}_dataloader"
        found |= {f"{loader}.num_workers": 0, f"{loader}.persistent_workers": False}
        found[f"{loader}.batch_size"] = 2
    return found | more


def train(config: str, work_dir: Path, opts: dict):
    runner = build_runner(load_config(config, opts, str(work_dir)))
    runner.train()
    return runner


def score(runner, name: str) -> float:
    return runner.message_hub.get_scalar(f"val/{name}").current()


def in_a_new_process(config: str, checkpoint: Path, work_dir: Path, opts: dict) -> dict:
    flat = [f"{k}={v}" for k, v in opts.items() if "init_cfg" not in k]
    command = [sys.executable, "tools/test.py", config, str(checkpoint), "--work-dir", work_dir]
    done = subprocess.run(
        [*map(str, command), "--cfg-options", *flat],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads((Path(work_dir) / "result.json").read_text())


@pytest.mark.slow
def test_a_trained_detector_gives_the_same_number_in_a_new_process(coco, pretrained, tmp_path):
    opts = options(coco, pretrained)
    runner = train(DET, tmp_path / "run", opts)
    coverage = runner.model.backbone.coverage
    assert len(coverage.new) == 8 and all(".rel_pos_" in name for name in coverage.new)
    result = in_a_new_process(DET, tmp_path / "run" / "iter_2.pth", tmp_path / "test", opts)
    for name in ("bbox_mAP", "segm_mAP", "bbox_AR@100"):
        assert result["metrics"][name] == dict(value=score(runner, name), unit="percent")
    assert result["n_evaluated"] == result["n_dataset"] == 4
    assert result["selection"] == "last update" and result["task"] == "coco"
    assert result["protocol"]["recipe"] == "vitdet" and "trained_heads" not in result["protocol"]
    assert str(coco) not in json.dumps(result["protocol"])
    files = result["run"]["predictions"]
    detections = json.loads((tmp_path / "test" / files["bbox"]["file"]).read_text())
    assert {d["image_id"] for d in detections} <= {1, 2, 3, 4}
    (row,) = leaderboard(tmp_path / "test", resamples=20).groups[0].rows
    assert row.cells["bbox_mAP"].no_images is None and row.cells["bbox_mAP"].over_images.n == 4
    assert result["run"]["command"].startswith(f"python tools/test.py {DET} ")
    started = result["checkpoint"]["started_from"]
    assert started["file"] == "epoch_1.pth" and started["coverage"]["matched"] > 40


@pytest.mark.slow
def test_a_trained_segmenter_gives_the_same_number_in_a_new_process(ade, pretrained, tmp_path):
    opts = options(ade, pretrained)
    runner = train(SEG, tmp_path / "run", opts)
    result = in_a_new_process(SEG, tmp_path / "run" / "iter_2.pth", tmp_path / "test", opts)
    for name in ("mIoU", "aAcc", "mAcc"):
        assert result["metrics"][name]["value"] == pytest.approx(score(runner, name), abs=1e-9)
    assert "trained_heads" not in result["protocol"]
    counts = np.load(tmp_path / "test" / result["outcomes"])
    assert counts["label"].shape == (4, 4)
    # two rows of every map are unlabelled and count for nothing
    assert (counts["label"].sum(axis=1) == 96 * 94).all()
    iou = counts["intersection"].sum(0) / counts["union"].sum(0)
    assert 100 * np.nanmean(iou) == pytest.approx(result["metrics"]["mIoU"]["value"])


@pytest.mark.slow
def test_backbones_train_under_both_tasks(coco, ade, pretrained, tmp_path):
    for config, root in ((DET, coco), (SEG, ade)):
        runner = train(config, tmp_path / Path(config).stem, options(root, pretrained))
        before = torch.load(pretrained)["backbone.layers.0.attn.qkv.weight"]
        after = runner.model.backbone.state_dict()["layers.0.attn.qkv.weight"]
        assert 0 < (after - before).abs().max() < 0.1


def test_protocols_of_detection_have_different_fingerprints(coco, tmp_path):
    fingerprints = set()
    given = options(coco)
    del given["param_scheduler.1.milestones"]  # the one steps, the other is a cosine
    for name in ("vitdet", "benchmarking"):
        leaf = f"configs/det/mask-rcnn_tiny_{name}.py"
        result = evaluate(leaf, "random", str(tmp_path / name), given)
        assert result["protocol"]["recipe"] == name
        fingerprints.add(result["fingerprint"])
    assert len(fingerprints) == 2


@pytest.mark.slow
def test_augmented_testing_averages_the_views(ade, pretrained, tmp_path):
    opts = options(ade, pretrained)
    train(SEG, tmp_path / "run", opts)
    checkpoint = str(tmp_path / "run" / "iter_2.pth")
    plain = evaluate(SEG, checkpoint, str(tmp_path / "a"), opts)
    views = evaluate("configs/seg/upernet_tiny-ms.py", checkpoint, str(tmp_path / "b"), opts)
    assert views["fingerprint"] != plain["fingerprint"]
    assert views["metrics"]["mIoU"] != plain["metrics"]["mIoU"]
    assert views["n_evaluated"] == 4


@pytest.mark.parametrize(("config", "kind"), [(DET, "coco"), (SEG, "ade")])
def test_a_data_folder_that_is_not_there_stops_at_once(config, kind, tmp_path):
    with pytest.raises(InputError, match=str(tmp_path / "nowhere")):
        train(
            config,
            tmp_path / "run",
            options(tmp_path / "nowhere", **{"model.backbone.init_cfg": None}),
        )


def test_classes_that_the_head_does_not_have_stop_before_training(coco, tmp_path):
    wrong = options(coco, **SCRATCH)
    cfg = load_config(DET, wrong, str(tmp_path))
    cfg.classes = None
    cfg.train_dataloader.dataset.dataset.metainfo = dict(classes=CLASSES)
    cfg.val_dataloader.dataset.metainfo = dict(classes=CLASSES)
    with pytest.raises(InputError, match="3 classes, but the head has num_classes=80"):
        build_runner(cfg).train()


@pytest.mark.slow
def test_faulty_boxes_stop_or_are_dropped_as_the_config_says(tmp_path, pretrained):
    root = write_coco(tmp_path / "coco", CLASSES, count=4)
    path = root / "annotations" / "instances_train.json"
    content = json.loads(path.read_text())
    content["annotations"][0]["bbox"][2] = 0
    path.write_text(json.dumps(content))
    with pytest.raises(InputError, match="instances_train.json"):
        train(DET, tmp_path / "a", options(root, pretrained))
    dropping = options(root, pretrained, bad_annotations="drop")
    runner = train(DET, tmp_path / "b", dropping)
    assert sum(runner.train_dataloader.dataset.dataset.dropped.values()) == 1
    saved = torch.load(tmp_path / "b" / "iter_2.pth", weights_only=False)["meta"]["training"]
    assert saved["dropped"] == runner.train_dataloader.dataset.dataset.dropped


def test_classes_in_one_string_are_refused(coco, tmp_path):
    with pytest.raises(InputError, match="give a list of names"):
        train(DET, tmp_path, options(coco, classes="dog", **SCRATCH))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"precision": "bf16"}, "RoIAlign has no bf16"),
        ({"param_scheduler.1.milestones": [130]}, r"milestones \[130\], but the run ends after 2"),
        (
            {"model.backbone.arch.embed_dims": 48},
            "maps of width 96, but the backbone's is 48",
        ),
        ({"model.backbone.out_indices": [2]}, "taken after block 2, but the backbone has blocks"),
    ],
)
def test_a_config_that_would_go_wrong_later_stops_at_once(change, message, coco, tmp_path):
    with pytest.raises(InputError, match=message):
        train(DET, tmp_path, options(coco, **SCRATCH) | change)


PROBE = "configs/seg/linear_semaim-vitb_40k_ade20k-512x512.py"
LARGE = {"model.backbone.arch": "large", "model.decode_head.in_channels": 1024}


@pytest.mark.parametrize(
    ("leaf", "change", "message"),
    [
        (PROBE, LARGE, "freezes 12 blocks, but the backbone has 24"),
        (PROBE, {"model.backbone.frozen_stages": 6}, "freezes 6 blocks, but the backbone has 12"),
        (PROBE, {"model.backbone.arch": "small"}, "decode_head takes maps of width 768, but"),
        (SEG, {"model.auxiliary_head.in_channels": 48}, "auxiliary_head takes maps of width 48"),
        (SEG, {"model.decode_head.in_channels": [96, 96, 96, 48]}, "maps of width 48, but the"),
    ],
)
def test_a_segmenter_made_for_another_backbone_stops_at_once(leaf, change, message, tmp_path):
    with pytest.raises(InputError, match=message):
        build_runner(load_config(leaf, SCRATCH | change, str(tmp_path)))


def test_a_probe_of_another_depth_is_frozen_as_a_whole_or_not_at_all(tmp_path):
    for change, frozen in (({"model.backbone.frozen_stages": 24} | LARGE, 24), ({}, 12)):
        cfg = load_config(PROBE, SCRATCH | change, str(tmp_path))
        spread_keys(cfg)
        assert cfg.model.backbone.frozen_stages == frozen
    partly = load_config(SEG, {"model.backbone.frozen_stages": 2}, str(tmp_path))
    spread_keys(partly)  # no probe: half a backbone may be trained
    assert partly.model.backbone.frozen_stages == 2


@pytest.mark.slow
def test_a_resumed_detector_needs_no_pretrained_file(coco, pretrained, tmp_path):
    import shutil

    copy = tmp_path / "semaim.pth"
    shutil.copy(pretrained, copy)
    train(DET, tmp_path / "run", options(coco, copy))
    copy.unlink()
    opts = options(coco, copy) | {"train_cfg.max_iters": 4, "param_scheduler.1.milestones": [3]}
    cfg = load_config(DET, opts, str(tmp_path / "run"))
    set_resume(cfg, "newest")
    runner = build_runner(cfg)
    runner.train()
    assert runner.iter == 4
    saved = torch.load(tmp_path / "run" / "iter_4.pth", weights_only=False)["meta"]
    assert saved["started_from"]["file"] == "semaim.pth"


@pytest.mark.slow
def test_the_fingerprint_is_that_of_the_training_not_of_the_leaf_that_tests(
    coco, pretrained, tmp_path
):
    prints = {}
    for rate in (0.0, 0.3):
        change = {"model.backbone.drop_path_rate": rate, "model.backbone.with_cp": rate == 0.0}
        work_dir = tmp_path / f"run{rate}"
        train(DET, work_dir, options(coco, pretrained) | change)
        result = evaluate(DET, str(work_dir / "iter_2.pth"), str(work_dir / "t"), options(coco))
        assert result["protocol"]["backbone"]["drop_path_rate"] == rate
        prints[rate] = result["fingerprint"]
    assert prints[0.0] != prints[0.3]
    assert "with_cp" not in result["protocol"]["backbone"]
