"""Anchor without a figure: MAE ViT-B/16 finetuned on 1 % of the labels.

Others change the recipe for so few images.
"""

_base_ = "../lowshot-1pct_finetune_vitb.py"

model = dict(backbone=dict(init_cfg=dict(checkpoint="checkpoints/mae_pretrain_vit_base.pth")))
