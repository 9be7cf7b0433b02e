"""Anchor: MAE ViT-B/16, 51.6 box AP and 45.9 mask AP (detectron2, projects/ViTDet)."""

_base_ = "../mask-rcnn_semaim-vitb_vitdet-100ep_coco.py"

model = dict(backbone=dict(init_cfg=dict(checkpoint="checkpoints/mae_pretrain_vit_base.pth")))
