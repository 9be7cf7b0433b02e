"""Anchor: MAE ViT-L/16 after finetuning, 85.9 (MAE's FINETUNE.md). Needs the public checkpoint."""

_base_ = "../finetune_vitl.py"

model = dict(backbone=dict(init_cfg=dict(checkpoint="checkpoints/mae_pretrain_vit_large.pth")))
