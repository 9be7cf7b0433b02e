"""Frozen features on ImageNet-1K: Resize 256 and CenterCrop 224 on both splits, as the authors."""

_base_ = "runtime.py"

data_root = "{{$SEMAIM_DATA:data}}/imagenet"

task = "knn"
checkpoint_key = "model.backbone.init_cfg.checkpoint"  # where tools/test.py puts CHECKPOINT

model = dict(
    type="FeatureModel",
    backbone=dict(
        type="SemAIMViT",
        arch="base",
        init_cfg=dict(type="BackboneCheckpoint", checkpoint=None, new_keys=[]),
    ),
    layers=[-1],
    poolings=["patches"],
    data_preprocessor=dict(
        type="ClsDataPreprocessor",
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        to_rgb=True,
    ),
)
eval_pipeline = [
    dict(type="LoadImage"),
    dict(type="ResizeEdge", scale=256, edge="short", backend="pillow", interpolation="bicubic"),
    dict(type="CenterCrop", crop_size=224),
    dict(type="PackInputs"),
]
test_dataloader = dict(
    batch_size=256,
    num_workers=8,
    pin_memory=True,
    collate_fn=dict(type="default_collate"),
    sampler=dict(type="DefaultSampler", shuffle=False),
    dataset=dict(
        type="ImageFolder",
        split="val",
        with_label=True,
        pipeline=eval_pipeline,
    ),
)
test_cfg = dict(
    type="FeatureTestLoop",
    bank_dataloader=dict(
        batch_size=256,
        num_workers=8,
        pin_memory=True,
        collate_fn=dict(type="default_collate"),
        sampler=dict(type="DefaultSampler", shuffle=False),
        dataset=dict(
            type="ImageFolder",
            split="train",
            with_label=True,
            pipeline=eval_pipeline,
        ),
    ),
)
test_evaluator = dict(type="KNN")
