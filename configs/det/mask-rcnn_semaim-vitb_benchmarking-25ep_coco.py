"""Mask R-CNN, ViT-B/16, protocol "benchmarking", 25 epochs.

Published: MAE 48.1 box AP, 43.2 mask AP (facebookresearch/mae#43). Not run here.
"""

_base_ = "mask-rcnn_semaim-vitb_benchmarking-100ep_coco.py"

train_cfg = dict(max_iters=46094)
