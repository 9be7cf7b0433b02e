"""Anchor: iBOT ViT-B/16, linear segmentation, 38.3 mIoU (iBOT's paper, table 14).

iBOT's own head reads four blocks and trains for 160k updates, so the tolerance is wide.
"""

_base_ = "../linear_semaim-vitb_40k_ade20k-512x512.py"

model = dict(backbone=dict(init_cfg=dict(checkpoint="checkpoints/ibot_vitb16_teacher.pth")))
