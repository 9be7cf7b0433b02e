"""Frozen features of the tiny backbone on the shipped sample objects (64 px, six classes)."""

_base_ = "features_imagenet.py"

data_root = "{{$SEMAIM_DATA:data}}/sample/cls"

model = dict(
    backbone=dict(
        arch=dict(
            _delete_=True, embed_dims=96, num_layers=4, num_heads=4, feedforward_channels=384
        ),
        img_size=64,
        patch_size=8,
    ),
)
eval_pipeline = [dict(type="LoadImage"), dict(type="PackInputs")]
test_dataloader = dict(
    batch_size=100,
    num_workers=1,
    pin_memory=False,
    dataset=dict(pipeline=eval_pipeline),
)
test_cfg = dict(
    bank_dataloader=dict(
        batch_size=100,
        num_workers=1,
        pin_memory=False,
        dataset=dict(pipeline=eval_pipeline),
    ),
)
