"""Anchor: MAE ViT-B/16, 100 epochs, 50.3 box AP and 44.9 mask AP (facebookresearch/mae#43)."""

_base_ = "../mask-rcnn_semaim-vitb_benchmarking-100ep_coco.py"

model = dict(backbone=dict(init_cfg=dict(checkpoint="checkpoints/mae_pretrain_vit_base.pth")))
