"""Supervised ViT-B/16 from scratch, 300 epochs, finetuning's augmentation. Not run here."""

_base_ = "../../_base_/finetune.py"

task = "supervised pretraining"
model = dict(
    backbone=dict(out_type="cls_token", final_norm=True, init_cfg=dict(_delete_=True)),
)
optim_wrapper = dict(paramwise_cfg=dict(layer_decay_rate=1.0))
train_cfg = dict(max_epochs=300)
custom_hooks = [
    dict(type="SeedStepHook"),
    dict(type="ClassCountHook"),
    dict(type="SkippedImagesHook"),
    dict(type="BudgetHook"),
]
param_scheduler = [
    dict(type="LinearLR", start_factor=1e-9, end=20, convert_to_iter_based=True),
    dict(type="CosineAnnealingLR", begin=20, eta_min_ratio=1e-2, convert_to_iter_based=True),
]
