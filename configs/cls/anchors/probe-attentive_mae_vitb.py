"""Anchor without a figure: MAE ViT-B/16, attentive probe on 10 % of the training images.

The nearest figure is of CAE's own attentive probe, 74.2 (CAE README).
"""

_base_ = "../probe-attentive_vitb.py"

model = dict(backbone=dict(init_cfg=dict(checkpoint="checkpoints/mae_pretrain_vit_base.pth")))
