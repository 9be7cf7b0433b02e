"""Mask R-CNN, ViT-L/16, protocol "vitdet", 100 epochs.

Published: MAE 55.5 box AP, 49.2 mask AP (detectron2, projects/ViTDet). Not run here.
"""

_base_ = "mask-rcnn_semaim-vitb_vitdet-100ep_coco.py"

model = dict(backbone=dict(arch="large", drop_path_rate=0.4), neck=dict(in_channels=1024))
optim_wrapper = dict(paramwise_cfg=dict(layer_decay_rate=0.8))
