"""Anchor: MAE ViT-B/16 finetuned on 10 % of the labels, 73.7 (Semi-ViT, second-hand).

Semi-ViT's recipe has half the batch, a quarter of the learning rate and 5 warm-up epochs.
"""

_base_ = "../lowshot-10pct_finetune_vitb.py"

model = dict(backbone=dict(init_cfg=dict(checkpoint="checkpoints/mae_pretrain_vit_base.pth")))
