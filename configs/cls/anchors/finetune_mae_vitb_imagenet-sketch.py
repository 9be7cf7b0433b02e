"""Anchor: MAE ViT-B/16 finetuned, tested on ImageNet-Sketch, 34.5 (MAE README)."""

_base_ = "finetune_mae_vitb.py"

test_set = "imagenet-sketch"
