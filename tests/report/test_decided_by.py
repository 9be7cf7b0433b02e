"""The eight words that decide a result, held against configs, small runs and what they compute."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from conftest import OF_TINY_LEAVES, build_tiny, write_images
from mmengine.config import Config
from mmengine.registry import init_default_scope

from semaim_mm.report.decided_by import decided_by
from semaim_mm.report.result import read_result
from semaim_mm.runtime.evaluate import evaluate
from semaim_mm.runtime.launch import build_runner, load_config
from semaim_mm.runtime.protocol import protocol_of, training_of
from semaim_mm.transfer import PROTOCOLS

ROOT = Path(__file__).resolve().parents[2] / "configs"
WORDS = {"pooling", "layer", "norm", "crop", "resolution", "precision", "batch", "effective_lr"}
TRAINED = dict(total_batch=64, lr=0.5, precision="bf16")
EVAL_CROP = ["ResizeEdge 256", "CenterCrop 224"]


def of_leaf(leaf: str, training: dict | None = None, chosen: dict | None = None, **merged) -> dict:
    """A leaf's eight words, without a run."""
    cfg = Config.fromfile(ROOT / leaf)
    cfg.merge_from_dict(merged)
    init_default_scope("mmpretrain")
    judge = None if cfg.get("train_cfg") else PROTOCOLS.build(cfg.test_evaluator.to_dict())
    # as a result file keeps it
    protocol = json.loads(json.dumps(protocol_of(cfg, judge, training_of(cfg))))
    found = decided_by(protocol, cfg.model.backbone.to_dict(), training, chosen or {})
    assert set(found) == WORDS
    assert json.loads(json.dumps(found)) == found, "plain values"
    return found


def test_features_of_knn_are_told():
    mean = of_leaf("cls/knn_vitb.py")
    assert mean == dict(
        pooling="patches",
        layer=11,
        norm="LayerNorm without affine after the mean",
        crop=dict(train=EVAL_CROP, test=EVAL_CROP),
        resolution=[224, 224],
        precision=dict(train=None, test="fp32"),
        batch=None,
        effective_lr=None,
    )
    cls = of_leaf("cls/knn-cls_vitl.py")
    assert (cls["pooling"], cls["layer"], cls["norm"]) == ("cls", 23, "pretrained norm")


def test_a_model_without_final_norm_is_told():
    plain = of_leaf("cls/knn-cls_vitb.py", **{"model.backbone.final_norm": False})
    assert plain["norm"] == "LayerNorm without affine"


def test_raw_pixels_have_no_layer_and_no_norm():
    found = of_leaf("cls/knn_tiny_pixels.py")
    assert (found["pooling"], found["layer"], found["norm"]) == ("pixels", None, None)
    assert found["resolution"] is None, "that of the files"


@pytest.mark.parametrize(
    ("feature", "pooling", "layer", "norm"),
    [
        ("layer11.cls", "cls", 11, "pretrained norm"),
        ("layer7.cls", "cls", 7, "LayerNorm without affine"),
        ("layer7.patches", "patches", 7, "LayerNorm without affine after the mean"),
        ("layer11.both", "both", 11, "CLS: pretrained norm; mean: LayerNorm without affine"),
        (
            "layer11.attentive",
            "attentive",
            11,
            "each channel standardised over the training tokens",
        ),
    ],
)
def test_what_a_probe_chose_is_told(feature, pooling, layer, norm):
    chosen = dict(feature=feature, base_lr=0.03)
    found = of_leaf("cls/probe_vitb.py", TRAINED, chosen, **{"test_evaluator.batch_size": 1024})
    assert (found["pooling"], found["layer"], found["norm"]) == (pooling, layer, norm)
    # not the batch of the pretraining, whose record the checkpoint brings
    assert (found["batch"], found["effective_lr"]) == (1024, pytest.approx(0.12))
    kept = ", tokens kept in fp16" if pooling == "attentive" else ""
    assert found["precision"] == dict(train=None, test=f"fp32{kept}")


def test_logistic_regression_has_no_learning_rate():
    found = of_leaf("cls/lowshot-1pct_logreg_vitb.py", None, dict(feature="layer11.patches", C=1.0))
    assert (found["pooling"], found["batch"], found["effective_lr"]) == ("patches", None, None)


def test_finetuning_and_the_linear_probe_are_told():
    mean, cls = of_leaf("cls/finetune_vitb.py", TRAINED), of_leaf("cls/finetune-cls_vitb.py")
    assert (mean["pooling"], mean["norm"]) == ("patches", "new LayerNorm after the mean")
    assert mean["crop"] == dict(train=["RandomResizedCrop 224"], test=EVAL_CROP)
    assert mean["precision"] == dict(train="bf16", test="fp32")
    assert (mean["batch"], mean["effective_lr"], mean["layer"]) == (64, 0.5, 11)
    assert (cls["pooling"], cls["norm"]) == ("cls", "pretrained norm")
    assert (cls["batch"], cls["effective_lr"]) == (None, None), "no record, no claim"
    linear = of_leaf("cls/linear_vitl.py", TRAINED)
    assert (linear["pooling"], linear["layer"]) == ("cls", 23)
    assert linear["norm"] == "pretrained norm, then BatchNorm without affine"
    assert linear["crop"]["train"] == ["ResizeEdge 224", "RandomCrop 224"]


def test_maps_of_detection_and_segmentation_are_told():
    record = dict(total_batch=64, lr=None, precision="fp16")
    det = of_leaf("det/mask-rcnn_semaim-vitb_benchmarking-100ep_coco.py", record)
    assert (det["pooling"], det["layer"], det["norm"]) == ("none: maps", [2, 5, 8, 11], None)
    assert (det["resolution"], det["effective_lr"]) == ([1024, 1024], 8e-5)
    assert det["crop"]["train"] == [
        "RandomResize 1024 x 1024 x 0.1 to 2",
        "RandomCrop 1024 x 1024",
    ]
    seg = of_leaf("seg/linear_semaim-vitb_40k_ade20k-512x512.py", record)
    assert (seg["layer"], seg["norm"], seg["resolution"]) == (11, "pretrained norm", [512, 512])
    views = of_leaf("seg/upernet_semaim-vitb_160k_ade20k-512x512-ms.py", record)
    assert views["crop"]["test"] == ["12 views"]


def test_the_resolution_is_what_the_network_is_given_not_what_it_was_built_for():
    crop = {"test_dataloader.dataset.pipeline.2.crop_size": 192}
    assert of_leaf("cls/knn_vitb.py", **crop)["resolution"] == [192, 192]
    padded = of_leaf("det/mask-rcnn_semaim-vitb_vitdet-100ep_coco.py")
    assert padded["resolution"] == [1024, 1024], "its backbone is built for 224"
    assert of_leaf("seg/upernet_tiny.py")["resolution"] == [96, 96], "and this one's for 64"
    assert of_leaf("cls/finetune_tiny.py")["resolution"] == [64, 64]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two classes, 4 training and 2 validation images of 64 px each."""
    root = tmp_path_factory.mktemp("classes")
    for index, name in enumerate(("ant", "bee")):
        write_images(root / "train" / name, 4, size=64, seed=index)
        write_images(root / "val" / name, 2, size=64, seed=index + 10)
    return root


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """A tiny SemAIM with the record of a pretraining, as a training run saves it."""
    path = tmp_path_factory.mktemp("semaim") / "epoch_1.pth"
    meta = dict(epoch=1, training=dict(total_batch=2048, lr=1.6e-3, precision="bf16"))
    torch.save(dict(state_dict=build_tiny(**OF_TINY_LEAVES).state_dict(), meta=meta), path)
    return path


def of_result(folder: Path, config: str) -> dict:
    """A result file's eight words, from what it keeps."""
    result, backbone = read_result(folder / "result.json"), load_config(config).model.backbone
    run = result["run"]
    return decided_by(
        result["protocol"], backbone.to_dict(), run["training"], run.get("chosen") or {}
    )


def test_frozen_features_never_show_their_pretrainings_batch(folder, checkpoint, tmp_path):
    config = "configs/cls/probe-last_tiny.py"
    options = {"log_level": "ERROR", "data_root": str(folder), "test_evaluator.epochs": 1}
    options |= {"test_dataloader.num_workers": 0, "test_cfg.bank_dataloader.num_workers": 0}
    options["test_evaluator.holdout"] = 0.5
    result = evaluate(config, str(checkpoint), str(tmp_path), options)
    assert result["run"]["training"]["total_batch"] == 2048
    found = of_result(tmp_path, config)
    assert (found["pooling"], found["layer"], found["batch"]) == ("both", 3, 256)
    assert found["effective_lr"] == result["run"]["chosen"]["base_lr"]
    assert found["precision"] == dict(train=None, test="fp32")


def test_a_run_is_told_as_it_was_trained_not_as_it_is_tested(folder, checkpoint, tmp_path):
    config = "configs/cls/linear_tiny.py"
    options = {"log_level": "ERROR", "data_root": str(folder), "num_classes": 2}
    for split in ("train", "val", "test"):
        options[f"{split}_dataloader.num_workers"] = 0
    made = options | {"total_batch": 4, "train_dataloader.batch_size": 4}
    made |= {"train_cfg.max_epochs": 1, "model.backbone.init_cfg.checkpoint": str(checkpoint)}
    runner = build_runner(load_config(config, made, str(tmp_path / "train")))
    seen = []
    runner.model.backbone.register_forward_pre_hook(lambda _, args: seen.append(args[0].shape))
    runner.train()
    evaluate(config, str(tmp_path / "train/epoch_1.pth"), str(tmp_path / "test"), options)
    found = of_result(tmp_path / "test", config)
    assert found["resolution"] == list(seen[-1][-2:]) == [64, 64]
    assert found["batch"] == 4, "the leaf's own is 100"
    (group,) = runner.optim_wrapper.param_groups
    assert found["effective_lr"] == pytest.approx(group["initial_lr"]) == pytest.approx(0.1 / 64)
    assert found["precision"] == dict(train="fp32", test="fp32")
