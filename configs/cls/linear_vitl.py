"""Linear probe of ViT-L/16 on ImageNet-1K, 90 epochs. Not run here."""

_base_ = "linear_vitb.py"

model = dict(
    backbone=dict(arch="large", frozen_stages=24),
    neck=dict(input_features=1024),
    head=dict(in_channels=1024),
)
