"""Finetuning ViT-B/16 on ImageNet-1K, 100 epochs, mean of patch tokens.

Published: 84.1 top-1 from 800 epochs of SemAIM (the authors' README). Not run here.
    tools/dist_train.sh configs/cls/finetune_vitb.py 8 \
        --cfg-options model.backbone.init_cfg.checkpoint=CHECKPOINT
"""

_base_ = "../_base_/finetune.py"
