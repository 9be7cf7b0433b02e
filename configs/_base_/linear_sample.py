"""Linear probe of the tiny backbone on the shipped sample objects (64 px, six classes)."""

_base_ = "linear.py"

data_root = "{{$SEMAIM_DATA:data}}/sample/cls"
num_classes = 6
total_batch = 100

model = dict(
    backbone=dict(
        arch=dict(
            _delete_=True, embed_dims=96, num_layers=4, num_heads=4, feedforward_channels=384
        ),
        img_size=64,
        patch_size=8,
        frozen_stages=4,
    ),
    neck=dict(input_features=96),
    head=dict(num_classes=num_classes, in_channels=96),
    data_preprocessor=dict(num_classes=num_classes),
)
train_dataloader = dict(
    batch_size=100,
    num_workers=1,
    pin_memory=False,
    dataset=dict(
        dataset=dict(
            pipeline=[
                dict(type="LoadImage"),
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
train_cfg = dict(max_epochs=15)
