"""Anchor: MAE ViT-B/16, 25 epochs, 48.1 box AP and 43.2 mask AP (facebookresearch/mae#43)."""

_base_ = "../mask-rcnn_semaim-vitb_benchmarking-25ep_coco.py"

model = dict(backbone=dict(init_cfg=dict(checkpoint="checkpoints/mae_pretrain_vit_base.pth")))
