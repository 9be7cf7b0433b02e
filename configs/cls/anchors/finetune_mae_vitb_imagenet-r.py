"""Anchor: MAE ViT-B/16 finetuned, tested on ImageNet-R, 48.3 (MAE README)."""

_base_ = "finetune_mae_vitb.py"

test_set = "imagenet-r"
