"""Anchor: MAE ViT-B/16, UperNet with relative position, 48.1 mIoU (mmseg's configs/mae)."""

_base_ = "../upernet-relpos_semaim-vitb_160k_ade20k-512x512.py"

model = dict(backbone=dict(init_cfg=dict(checkpoint="checkpoints/mae_pretrain_vit_base.pth")))
