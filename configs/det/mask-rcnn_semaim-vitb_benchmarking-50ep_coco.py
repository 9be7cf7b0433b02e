"""Mask R-CNN, ViT-B/16, protocol "benchmarking", 50 epochs.

Published: MAE 50.1 box AP, 44.6 mask AP (facebookresearch/mae#43). Not run here.
"""

_base_ = "mask-rcnn_semaim-vitb_benchmarking-100ep_coco.py"

train_cfg = dict(max_iters=92188)
