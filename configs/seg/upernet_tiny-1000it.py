"""UperNet of the tiny backbone on the shipped scenes, 1,000 updates: the small suite's budget."""

_base_ = "upernet_tiny.py"

train_cfg = dict(max_iters=1000, val_interval=1000)
param_scheduler = [
    dict(type="LinearLR", start_factor=1e-6, by_epoch=False, end=100),
    dict(type="PolyLR", begin=100, eta_min=0.0, power=1.0, by_epoch=False),
]
default_hooks = dict(checkpoint=dict(interval=250), logger=dict(interval=50))
