"""UperNet, ViT-B/16, ADE20K, 160k updates, single scale.

Published: MAE 48.1 mIoU (arXiv 2111.06377) has relative position and LayerScale beside it: that is
upernet-relpos_semaim-vitb_160k_ade20k-512x512.py. Not run here.
    tools/dist_train.sh configs/seg/upernet_semaim-vitb_160k_ade20k-512x512.py 8 \
        --cfg-options model.backbone.init_cfg.checkpoint=CHECKPOINT
"""

_base_ = "../_base_/upernet.py"

# a test image smaller than the crop is padded as a training crop is: no window is of patches that
# lie half outside it
model = dict(data_preprocessor=dict(test_cfg=dict(size=(512, 512))))
