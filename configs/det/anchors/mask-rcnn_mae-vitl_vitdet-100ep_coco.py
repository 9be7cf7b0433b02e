"""Anchor: MAE ViT-L/16, 55.5 box AP and 49.2 mask AP (detectron2, projects/ViTDet)."""

_base_ = "../mask-rcnn_semaim-vitl_vitdet-100ep_coco.py"

model = dict(backbone=dict(init_cfg=dict(checkpoint="checkpoints/mae_pretrain_vit_large.pth")))
