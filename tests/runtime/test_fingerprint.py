"""What parts two protocols and what doesn't: nothing that decides a score is left out."""

from __future__ import annotations

import pytest
import torch

from semaim_mm.interop.carry import carry_into
from semaim_mm.report.result import fingerprint
from semaim_mm.runtime.launch import load_config
from semaim_mm.runtime.protocol import protocol_of, state_backbone, training_of
from semaim_mm.runtime.spread import spread_keys
from semaim_mm.vit import SemAIMViT

START = "model.backbone.init_cfg.checkpoint"
ARCH = dict(embed_dims=96, num_layers=4, num_heads=4, feedforward_channels=384)


def fingerprint_of(leaf: str, options: dict | None = None) -> str:
    cfg = load_config(f"configs/{leaf}.py", options)
    spread_keys(cfg)
    state_backbone(cfg)
    carry_into(cfg)
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
