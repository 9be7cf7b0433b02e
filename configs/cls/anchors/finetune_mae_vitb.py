"""Anchor: MAE ViT-B/16 after finetuning, 83.6 (MAE README). Needs the public checkpoint."""

_base_ = "../finetune_vitb.py"

model = dict(backbone=dict(init_cfg=dict(checkpoint="checkpoints/mae_pretrain_vit_base.pth")))
