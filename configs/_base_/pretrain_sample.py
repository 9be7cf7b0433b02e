"""A tiny SemAIM on the shipped sample scenes: 64 px, patch 8, width 96; a minute on two cores."""

_base_ = "pretrain.py"

data_root = "{{$SEMAIM_DATA:data}}/sample"

total_batch = 16
base_lr = 1.5e-3 * 256 / 16

model = dict(
    backbone=dict(
        arch=dict(
            _delete_=True, embed_dims=96, num_layers=4, num_heads=4, feedforward_channels=384
        ),
        img_size=64,
        patch_size=8,
    ),
    neck=dict(query_depth=2),
    data_preprocessor=dict(flip_prob=0.0),  # the pipeline below flips
    target_generator=dict(blur_kernel=None),
)
train_dataloader = dict(
    batch_size=16,
    num_workers=1,
    pin_memory=False,
    dataset=dict(
        dataset=dict(
            split="pretrain",
            pipeline=[
                dict(type="LoadImage"),
                dict(
                    type="RandomResizedCrop",
                    scale=64,
                    crop_ratio_range=(0.2, 1.0),
                    backend="pillow",
                    interpolation="bicubic",
                ),
                dict(type="RandomFlip", prob=0.5),
                dict(type="PackInputs"),
            ],
        ),
    ),
)
# longer training lowers the loss further, but frozen features get no better at this size
train_cfg = dict(max_epochs=1, val_interval=1)
plain_loader = dict(
    batch_size=100,
    num_workers=1,
    collate_fn=dict(type="default_collate"),
    sampler=dict(type="DefaultSampler", shuffle=False),
)
val_pipeline = [dict(type="LoadImage"), dict(type="PackInputs")]
val_dataloader = dict(
    dataset=dict(
        type="ImageFolder",
        split="pretrain_val",
        pipeline=val_pipeline,
    ),
    **plain_loader,
)
val_evaluator = dict()
val_cfg = dict(
    type="HeldoutLossLoop",
    mean_dataloader=dict(
        dataset=dict(
            type="ImageFolder",
            split="pretrain",
            pipeline=val_pipeline,
        ),
        **plain_loader,
    ),
)
param_scheduler = [
    dict(type="LinearLR", start_factor=1e-9, end=0.16, convert_to_iter_based=True),
    dict(type="CosineAnnealingLR", begin=0.16, eta_min=0.0, convert_to_iter_based=True),
]
