"""What parts two protocols and what doesn't: nothing that decides a score is left out."""

from __future__ import annotations

import json

import pytest
import torch
from mmengine.config import Config

from semaim_mm.interop.carry import carry_into
from semaim_mm.report.result import fingerprint
from semaim_mm.runtime.launch import load_config
from semaim_mm.runtime.protocol import protocol_of, state_backbone, training_of
from semaim_mm.runtime.record import plain
from semaim_mm.runtime.spread import spread_keys
from semaim_mm.vit import SemAIMViT

START = "model.backbone.init_cfg.checkpoint"
ARCH = dict(embed_dims=96, num_layers=4, num_heads=4, feedforward_channels=384)


def resolved(leaf: str, options: dict | None = None) -> Config:
    cfg = load_config(f"configs/{leaf}.py", options)
    spread_keys(cfg)
    state_backbone(cfg)
    carry_into(cfg)
    return cfg


def fingerprint_of(leaf: str, options: dict | None = None) -> str:
    cfg = resolved(leaf, options)
    return fingerprint(protocol_of(cfg, trained_by=training_of(cfg)))


@pytest.mark.parametrize(
    "leaf", ["cls/finetune_tiny", "det/mask-rcnn_tiny_vitdet", "seg/upernet_tiny"]
)
def test_an_untrained_start_is_judged_by_the_protocol_of_pretrained_ones(leaf, tmp_path):
    path = tmp_path / "pretrained.pth"
    torch.save(SemAIMViT(arch=ARCH, img_size=64, patch_size=8).state_dict(), path)
    assert fingerprint_of(leaf, {START: "random"}) == fingerprint_of(leaf, {START: str(path)})


@pytest.mark.parametrize(
    ("leaf", "options"),
    [
        ("cls/knn_tiny", {"test_cfg.bank_dataloader.dataset.split": "val"}),
        ("cls/knn_tiny", {"test_dataloader.dataset.split": "train"}),
        ("cls/finetune_tiny", {"train_dataloader.dataset.dataset.split": "val"}),
        ("cls/finetune_tiny", {"test_dataloader.dataset.known_classes": "imagenet-1k"}),
        ("cls/finetune_tiny", {"train_dataloader.sampler.type": "RepeatAugSampler"}),
        ("cls/finetune_tiny", {"custom_hooks": [dict(type="EMAHook")]}),
        ("cls/finetune_tiny", {"train_dataloader.dataset.type": "RepeatDataset"}),
        ("det/mask-rcnn_tiny_vitdet", {"test_dataloader.dataset.data_prefix.img": "train/"}),
        ("det/mask-rcnn_tiny_vitdet", {"bad_annotations": "drop"}),
    ],
)
def test_what_is_read_and_what_changes_weights_parts_protocols(leaf, options):
    start = {START: "random"} if "knn" not in leaf else {}
    assert fingerprint_of(leaf, {**start, **options}) != fingerprint_of(leaf, start)


@pytest.mark.parametrize(
    ("leaf", "told"),
    [
        ("cls/finetune_tiny", {"model.head.loss.label_smooth_val": 0.3}),
        ("seg/upernet_tiny", {"model.auxiliary_head.loss_decode.loss_weight": 1.0}),
        ("seg/upernet_tiny", {"model.decode_head.dropout_ratio": 0.5}),
        ("det/mask-rcnn_tiny_vitdet", {"model.roi_head.bbox_head.loss_bbox.loss_weight": 2.0}),
        ("det/mask-rcnn_tiny_vitdet", {"model.rpn_head.loss_cls.loss_weight": 2.0}),
    ],
)
def test_what_only_the_training_was_told_of_heads_and_losses_parts_protocols(leaf, told):
    def tested(**trained) -> dict:
        cfgs = [resolved(leaf, {START: "random"} | options) for options in ({}, trained)]
        # as a checkpoint gives it back
        recorded = json.loads(json.dumps(plain(training_of(cfgs[1]))))
        return protocol_of(cfgs[0], trained_by=recorded)

    alike, other = tested(), tested(**told)
    assert "trained_heads" not in alike and "backbone" not in other["trained_heads"]
    assert fingerprint(alike) == fingerprint_of(leaf, {START: "random"}) != fingerprint(other)


def test_a_start_from_a_whole_model_parts_protocols():
    cfg = resolved("cls/finetune_tiny", {START: "random"})
    trained = training_of(cfg)
    found = [
        fingerprint(protocol_of(cfg, trained_by=trained | more))
        for more in ({}, {"starts_from": "a whole model"})
    ]
    assert found[0] != found[1]


def test_half_precision_at_test_time_is_said_and_parts_protocols():
    start = {START: "random"}
    half = start | {"test_cfg.fp16": True}
    leaf = "det/mask-rcnn_tiny_vitdet"
    assert fingerprint_of(leaf, half) != fingerprint_of(leaf, start)
    assert protocol_of(resolved(leaf, half))["test_precision"] == "fp16"


def test_where_data_lies_parts_no_protocols():
    start = {START: "random"}
    elsewhere = {**start, "data_root": "elsewhere"}
    assert fingerprint_of("cls/finetune_tiny", elsewhere) == fingerprint_of(
        "cls/finetune_tiny", start
    )


def test_a_list_is_known_by_its_content_not_by_its_name(tmp_path):
    leaf, key = "cls/lowshot-10pct_finetune_tiny", "train_dataloader.dataset.dataset.subset"
    found = []
    for name, text in (("a.txt", "one"), ("b.txt", "one"), ("c.txt", "two")):
        (tmp_path / name).write_text(text)
        options = {f"{key}.file": str(tmp_path / name), f"{key}.fraction": None, START: "random"}
        found.append(fingerprint_of(leaf, options))
    assert found[0] == found[1] != found[2]
