"""Which of timm's weights class labels taught, and that a teacher's record says it."""

from __future__ import annotations

import pytest
import timm
from teachers import CLIP, SMALL, random_teacher, save

from semaim_mm.pretrain.targets import CLIPTeacher, ConvTeacher, TimmTeacher
from semaim_mm.pretrain.targets.teacher_labels import taught_by_labels

LABELS = (
    "tf_efficientnet_lite0",
    "resnet50.fb_ssl_yfcc100m_ft_in1k",
    "vit_base_patch16_224",  # timm takes AugReg's
    "vit_base_patch16_224.augreg_in21k",
    "deit3_small_patch16_224.fb_in1k",
    "beitv2_base_patch16_224.in1k_ft_in22k",
    "vit_base_patch16_clip_224.openai_ft_in12k_in1k",
    "eva_giant_patch14_224.clip_ft_in1k",
    # labelled data, and a classifier that timm has dropped or never had
    "vit_base_patch16_224.orig_in21k",
    "vit_base_patch32_224.orig_in21k",
    "vit_base_r50_s16_224.orig_in21k",
    "vit_large_patch16_224.orig_in21k",
    "vit_large_patch32_224.orig_in21k",
    "vit_huge_patch14_224.orig_in21k",
    "resnet50.bamboo",
    "focalnet_huge_fl4.ms_in22k",
)
NO_LABELS = (
    "vit_base_patch16_224.dino",
    "vit_base_patch16_224.mae",
    "vit_small_patch14_dinov2.lvd142m",
    "vit_small_patch16_dinov3.lvd1689m",
    "vit_base_patch16_siglip_224.webli",
    "aimv2_large_patch14_224.apple_pt",
    "eva02_tiny_patch14_224.mim_in22k",
    "convnextv2_base.fcmae",
    "convnext_large_mlp.clip_laion2b_ft_320",
    "vit_pe_core_tiny_patch16_384.fb",
    "vit_huge_patch14_gap_224.in1k_ijepa",
    "vit_huge_patch14_gap_224.in22k_ijepa",
    "regnety_320.seer",
    # a classifier that no labels taught
    "resmlp_12_224.fb_dino",
    "resmlp_24_224.fb_dino",
    "vit_small_patch16_36x1_224.untrained",
    CLIP,
)


@pytest.mark.parametrize("name", LABELS + NO_LABELS)
def test_timms_tag_tells_whether_labels_taught(name):
    cfg = timm.get_pretrained_cfg(name).to_dict()
    assert taught_by_labels(cfg) is (name in LABELS)


def test_a_teachers_record_says_what_taught_it_or_what_the_config_says(tmp_path):
    path = save(random_teacher("vit_base_patch16_224.dino").state_dict(), tmp_path / "t.pth")
    options = dict(weights=path, model_args=SMALL)
    for teacher, expected in (
        (ConvTeacher(weights=path), True),
        (ConvTeacher("resnet50", weights=path, labels=False), False),  # DINO's, say
        (CLIPTeacher(**options), False),
        (TimmTeacher("vit_base_patch16_224.dino", **options), False),
        (TimmTeacher("vit_base_patch16_224", **options), True),
        (TimmTeacher("vit_base_patch16_224.dino", **options, labels=True), True),
    ):
        assert teacher.record()["labels"] is expected, teacher.model_name
