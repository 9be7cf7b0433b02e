"""Segmentation of ADE20K at 512 px with a plain ViT-B/16: data, crops, sliding test."""

_base_ = "dense.py"

default_scope = "mmseg"
data_root = "{{$SEMAIM_DATA:data}}/ade/ADEChallengeData2016"

task = "ade20k"
total_batch = 16

model = dict(
    type="EncoderDecoder",
    data_preprocessor=dict(
        type="SegDataPreProcessor",
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        bgr_to_rgb=True,
        pad_val=0,
        seg_pad_val=255,
        size=(512, 512),
    ),
    backbone=dict(
        type="mmpretrain.SemAIMViT",
        arch="base",
        img_size=512,
        out_type="featmap",
        init_cfg=dict(type="BackboneCheckpoint", checkpoint=None, new_keys=[]),
    ),
    train_cfg=dict(),
    test_cfg=dict(mode="slide", crop_size=(512, 512), stride=(341, 341)),
)
train_dataloader = dict(
    batch_size=2,
    num_workers=8,
    persistent_workers=True,
    pin_memory=True,
    sampler=dict(type="KeyedSampler"),
    dataset=dict(
        type="KeyedDataset",
        dataset=dict(
            type="CheckedADE20K",
            data_prefix=dict(img_path="images/training", seg_map_path="annotations/training"),
            pipeline=[
                dict(type="LoadImage"),
                dict(type="LoadAnnotations", reduce_zero_label=True),
                dict(
                    type="RandomResize",
                    scale=(2048, 512),
                    ratio_range=(0.5, 2.0),
                    keep_ratio=True,
                ),
                dict(type="RandomCrop", crop_size=(512, 512), cat_max_ratio=0.75),
                dict(type="RandomFlip", prob=0.5),
                dict(type="PhotoMetricDistortion"),
                dict(type="PackSegInputs"),
            ],
        ),
    ),
)
val_dataloader = dict(
    batch_size=1,
    num_workers=4,
    persistent_workers=True,
    sampler=dict(type="DefaultSampler", shuffle=False),
    dataset=dict(
        type="CheckedADE20K",
        data_prefix=dict(img_path="images/validation", seg_map_path="annotations/validation"),
        test_mode=True,
        pipeline=[
            dict(type="LoadImage"),
            dict(type="Resize", scale=(2048, 512), keep_ratio=True),
            # after Resize: scores are computed at the label map's own size
            dict(type="LoadAnnotations", reduce_zero_label=True),
            dict(type="PackSegInputs"),
        ],
    ),
)
test_dataloader = val_dataloader
val_evaluator = dict(type="SampleIoU", iou_metrics=["mIoU"])
test_evaluator = val_evaluator
val_cfg = dict()
test_cfg = dict()
