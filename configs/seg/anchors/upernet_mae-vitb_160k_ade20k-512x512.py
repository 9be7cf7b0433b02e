"""Anchor without a figure: MAE ViT-B/16, UperNet on the plain ViT.

MAE's own figure has relative position: upernet-relpos_mae-vitb_160k_ade20k-512x512.py.
"""

_base_ = "../upernet_semaim-vitb_160k_ade20k-512x512.py"

model = dict(backbone=dict(init_cfg=dict(checkpoint="checkpoints/mae_pretrain_vit_base.pth")))
