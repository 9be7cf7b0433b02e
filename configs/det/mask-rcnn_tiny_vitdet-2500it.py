"""Mask R-CNN of the tiny backbone on the shipped scenes, 2,500 updates: the small suite's."""

_base_ = "mask-rcnn_tiny_vitdet.py"

train_cfg = dict(max_iters=2500, val_interval=2500)
param_scheduler = [
    dict(type="LinearLR", start_factor=1e-3, by_epoch=False, end=100),
    dict(type="MultiStepLR", milestones=[2200, 2400], gamma=0.1, by_epoch=False),
]
default_hooks = dict(checkpoint=dict(interval=500), logger=dict(interval=50))
