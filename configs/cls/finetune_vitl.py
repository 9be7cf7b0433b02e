"""Finetuning ViT-L/16 on ImageNet-1K, 50 epochs, by MAE's recipe: the authors give none.

Published: 85.8 top-1 from 800 epochs of SemAIM (the authors' README). Not run here.
"""

_base_ = "finetune_vitb.py"

base_lr = 1e-3
model = dict(backbone=dict(arch="large", drop_path_rate=0.2), head=dict(in_channels=1024))
optim_wrapper = dict(paramwise_cfg=dict(layer_decay_rate=0.75))
train_cfg = dict(max_epochs=50)
param_scheduler = [
    dict(type="LinearLR", start_factor=1e-9, end=5, convert_to_iter_based=True),
    dict(type="CosineAnnealingLR", begin=5, eta_min_ratio=2.5e-4, convert_to_iter_based=True),
]
