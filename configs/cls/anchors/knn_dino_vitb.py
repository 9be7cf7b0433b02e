"""Anchor: DINO ViT-B/16, k-NN 76.1 (DINO README), CLS token. Needs the public checkpoint."""

_base_ = "../knn-cls_vitb.py"

model = dict(backbone=dict(init_cfg=dict(checkpoint="checkpoints/dino_vitbase16_pretrain.pth")))
