"""Mask R-CNN, ViT-B/16, protocol "vitdet", 100 epochs.

Published: MAE 51.6 box AP, 45.9 mask AP (detectron2, projects/ViTDet). Not run here.
    tools/dist_train.sh configs/det/mask-rcnn_semaim-vitb_vitdet-100ep_coco.py 8 \
        --cfg-options model.backbone.init_cfg.checkpoint=CHECKPOINT
"""

_base_ = "../_base_/vitdet.py"
