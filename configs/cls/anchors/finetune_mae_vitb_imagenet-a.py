"""Anchor: MAE ViT-B/16 finetuned, tested on ImageNet-A, 35.9 (MAE README)."""

_base_ = "finetune_mae_vitb.py"

test_set = "imagenet-a"
