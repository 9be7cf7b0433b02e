"""Anchor: MAE ViT-B/16, 50 epochs, 50.1 box AP and 44.6 mask AP (facebookresearch/mae#43)."""

_base_ = "../mask-rcnn_semaim-vitb_benchmarking-50ep_coco.py"

model = dict(backbone=dict(init_cfg=dict(checkpoint="checkpoints/mae_pretrain_vit_base.pth")))
