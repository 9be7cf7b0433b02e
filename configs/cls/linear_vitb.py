"""Linear probe of ViT-B/16 on ImageNet-1K, 90 epochs. Not run here.

    tools/dist_train.sh configs/cls/linear_vitb.py 8 \
        --cfg-options model.backbone.init_cfg.checkpoint=CHECKPOINT
"""

_base_ = "../_base_/linear.py"
