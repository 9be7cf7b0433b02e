"""Mask R-CNN, ViT-B/16, protocol "benchmarking", 100 epochs.

Published: MAE 50.3 box AP, 44.9 mask AP (arXiv 2111.11429's code, facebookresearch/mae#43); SemAIM
51.3 / 45.4 with its protocol unstated (arXiv 2312.10457). Not run here.
On two machines, the first of which is HOST; NODE_RANK=1 on the second:
    NNODES=2 NODE_RANK=0 MASTER_ADDR=HOST \
        tools/dist_train.sh configs/det/mask-rcnn_semaim-vitb_benchmarking-100ep_coco.py 8 \
        --cfg-options model.backbone.init_cfg.checkpoint=CHECKPOINT
"""

_base_ = "../_base_/benchmarking.py"
