"""Anchor without a figure: MAE ViT-B/16 finetuned, tested on ImageNet-V2; MAE reports none."""

_base_ = "finetune_mae_vitb.py"

test_set = "imagenet-v2"
