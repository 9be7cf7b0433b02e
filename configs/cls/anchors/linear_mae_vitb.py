"""Anchor: MAE ViT-B/16, linear probe 67.8 (MAE's FINETUNE.md). Needs the public checkpoint.

MAE's own probe uses LARS and random resized crops; this is SemAIM's, so the tolerance is wide.
"""

_base_ = "../linear_vitb.py"

model = dict(backbone=dict(init_cfg=dict(checkpoint="checkpoints/mae_pretrain_vit_base.pth")))
