"""Finetuning the tiny backbone on the shipped sample objects (64 px, six classes)."""

_base_ = "finetune.py"

data_root = "{{$SEMAIM_DATA:data}}/sample/cls"
num_classes = 6
total_batch = 50
base_lr = 1e-3 * 256 / 50

model = dict(
    backbone=dict(
        arch=dict(
            _delete_=True, embed_dims=96, num_layers=4, num_heads=4, feedforward_channels=384
        ),
        img_size=64,
        patch_size=8,
    ),
    head=dict(num_classes=num_classes, in_channels=96),
    data_preprocessor=dict(num_classes=num_classes),
)
train_dataloader = dict(
    batch_size=50,
    num_workers=1,
    pin_memory=False,
    dataset=dict(
        dataset=dict(
            pipeline=[
                dict(type="LoadImage"),
                dict(
                    type="RandomResizedCrop",
                    scale=64,
                    crop_ratio_range=(0.35, 1.0),
                    backend="pillow",
                    interpolation="bicubic",
                ),
                dict(type="RandomFlip", prob=0.5),
                dict(type="PackInputs"),
            ],
        ),
    ),
)
val_dataloader = dict(
    batch_size=100,
    num_workers=1,
    pin_memory=False,
    dataset=dict(pipeline=[dict(type="LoadImage"), dict(type="PackInputs")]),
)
test_dataloader = val_dataloader
optim_wrapper = dict(paramwise_cfg=dict(layer_decay_rate=0.75))
train_cfg = dict(max_epochs=10)
param_scheduler = [
    dict(type="LinearLR", start_factor=1e-9, end=1, convert_to_iter_based=True),
    dict(type="CosineAnnealingLR", begin=1, eta_min_ratio=5e-4, convert_to_iter_based=True),
]
