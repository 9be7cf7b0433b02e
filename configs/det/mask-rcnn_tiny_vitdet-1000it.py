"""Mask R-CNN of the tiny backbone on the shipped scenes, 1,000 updates: the small suite's."""

_base_ = "mask-rcnn_tiny_vitdet.py"

train_cfg = dict(max_iters=1000, val_interval=1000)
param_scheduler = [
    dict(type="LinearLR", start_factor=1e-3, by_epoch=False, end=100),
    dict(type="MultiStepLR", milestones=[880, 960], gamma=0.1, by_epoch=False),
]
default_hooks = dict(checkpoint=dict(interval=250), logger=dict(interval=50))
