"""UperNet of the tiny backbone on the shipped sample scenes (96 px, four classes)."""

_base_ = "upernet.py"

data_root = "{{$SEMAIM_DATA:data}}/sample/ade"
classes = ["background", "animal", "food", "vehicle"]
total_batch = 8

# SyncBN needs an accelerator where there are several processes
norm_cfg = dict(type="BN", requires_grad=True)
model = dict(
    data_preprocessor=dict(size=(96, 96)),
    backbone=dict(
        arch=dict(
            _delete_=True, embed_dims=96, num_layers=4, num_heads=4, feedforward_channels=384
        ),
        img_size=64,
        patch_size=8,
        out_indices=[0, 1, 2, 3],
    ),
    neck=dict(embed_dim=96, norm_cfg=norm_cfg),
    decode_head=dict(in_channels=[96, 96, 96, 96], channels=64, norm_cfg=norm_cfg),
    auxiliary_head=dict(in_channels=96, channels=32, norm_cfg=norm_cfg),
    test_cfg=dict(crop_size=(96, 96), stride=(64, 64)),
)
train_dataloader = dict(
    batch_size=8,
    num_workers=1,
    pin_memory=False,
    dataset=dict(
        dataset=dict(
            type="CheckedLabelMaps",
            reduce_zero_label=True,
            pipeline=[
                dict(type="LoadImage"),
                dict(type="LoadAnnotations", reduce_zero_label=True),
                dict(type="RandomResize", scale=(96, 96), ratio_range=(0.75, 1.5), keep_ratio=True),
                dict(type="RandomCrop", crop_size=(96, 96), cat_max_ratio=0.75),
                dict(type="RandomFlip", prob=0.5),
                dict(type="PhotoMetricDistortion"),
                dict(type="PackSegInputs"),
            ],
        ),
    ),
)
val_dataloader = dict(
    batch_size=10,
    num_workers=1,
    dataset=dict(
        type="CheckedLabelMaps",
        reduce_zero_label=True,
        pipeline=[
            dict(type="LoadImage"),
            dict(type="LoadAnnotations", reduce_zero_label=True),
            dict(type="PackSegInputs"),
        ],
    ),
)
test_dataloader = val_dataloader
optim_wrapper = dict(optimizer=dict(lr=1e-3))
train_cfg = dict(max_iters=300, val_interval=300)
param_scheduler = [
    dict(type="LinearLR", start_factor=1e-6, by_epoch=False, end=20),
    dict(type="PolyLR", begin=20, eta_min=0.0, power=1.0, by_epoch=False),
]
default_hooks = dict(checkpoint=dict(interval=300), logger=dict(interval=10))
