"""A classifier on ImageNet-1K, ViT-B/16: data, validation and schedule that its protocols share."""

_base_ = "runtime.py"

data_root = "{{$SEMAIM_DATA:data}}/imagenet"
num_classes = 1000

model = dict(
    type="ImageClassifier",
    backbone=dict(
        type="SemAIMViT",
        arch="base",
        init_cfg=dict(type="BackboneCheckpoint", checkpoint=None, new_keys=[]),
    ),
    head=dict(type="LinearClsHead", num_classes=num_classes, in_channels=768),
    data_preprocessor=dict(
        type="ClsDataPreprocessor",
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        to_rgb=True,
        num_classes=num_classes,
    ),
)
train_dataloader = dict(
    batch_size=64,
    num_workers=8,
    persistent_workers=True,
    pin_memory=True,
    collate_fn=dict(type="default_collate"),
    sampler=dict(type="KeyedSampler"),
    dataset=dict(
        type="KeyedDataset",
        dataset=dict(type="ImageFolder", split="train", with_label=True, pipeline=[]),
    ),
)
# the authors' own script validates on the training list; this is the validation set
val_dataloader = dict(
    batch_size=128,
    num_workers=8,
    persistent_workers=True,
    pin_memory=True,
    collate_fn=dict(type="default_collate"),
    sampler=dict(type="DefaultSampler", shuffle=False),
    dataset=dict(
        type="ImageFolder",
        split="val",
        with_label=True,
        pipeline=[
            dict(type="LoadImage"),
            dict(
                type="ResizeEdge",
                scale=256,
                edge="short",
                backend="pillow",
                interpolation="bicubic",
            ),
            dict(type="CenterCrop", crop_size=224),
            dict(type="PackInputs"),
        ],
    ),
)
val_evaluator = dict(type="SampleAccuracy", topk=(1, 5))
val_cfg = dict()
test_dataloader = val_dataloader
test_evaluator = val_evaluator
test_cfg = dict()

custom_hooks = [
    dict(type="SeedStepHook"),
    dict(type="ClassCountHook"),
    dict(type="SkippedImagesHook"),
]
