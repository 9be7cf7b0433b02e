"""Mask R-CNN on COCO with a plain ViT-B/16 at 1024 px: what both detection protocols share."""

_base_ = ["dense.py", "mmdet::_base_/models/mask-rcnn_r50_fpn.py"]

default_scope = "mmdet"
data_root = "{{$SEMAIM_DATA:data}}/coco"

task = "coco"
total_batch = 64

model = dict(
    # training crops are padded to this square, and so are test images
    data_preprocessor=dict(pad_size_divisor=1024),
    backbone=dict(
        _delete_=True,
        type="mmpretrain.SemAIMViT",
        arch="base",
        with_cls_token=False,
        out_type="featmap",
        final_norm=False,  # SemAIM's norm belongs to the query stream
        drop_path_rate=0.1,
        init_cfg=dict(type="BackboneCheckpoint", checkpoint=None, new_keys=[]),
    ),
    rpn_head=dict(num_convs=2),
    roi_head=dict(
        bbox_head=dict(type="Shared4Conv1FCBBoxHead", conv_out_channels=256),
    ),
)
train_dataloader = dict(
    batch_size=4,
    num_workers=8,
    persistent_workers=True,
    pin_memory=True,
    sampler=dict(type="KeyedSampler"),
    dataset=dict(
        type="KeyedDataset",
        dataset=dict(
            type="CheckedCoco",
            ann_file="annotations/instances_train2017.json",
            data_prefix=dict(img="train2017/"),
            filter_cfg=dict(filter_empty_gt=True, min_size=32),
            pipeline=[
                dict(type="LoadImage"),
                dict(type="LoadAnnotations", with_bbox=True, with_mask=True),
                # large-scale jitter
                dict(
                    type="RandomResize",
                    scale=(1024, 1024),
                    ratio_range=(0.1, 2.0),
                    keep_ratio=True,
                ),
                dict(
                    type="RandomCrop",
                    crop_type="absolute_range",
                    crop_size=(1024, 1024),
                    recompute_bbox=True,
                    allow_negative_crop=True,
                ),
                # a crop without objects is a negative example
                dict(type="FilterAnnotations", min_gt_bbox_wh=(1e-2, 1e-2), keep_empty=False),
                dict(type="RandomFlip", prob=0.5),
                dict(type="PackDetInputs"),
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
        type="CheckedCoco",
        ann_file="annotations/instances_val2017.json",
        data_prefix=dict(img="val2017/"),
        test_mode=True,
        pipeline=[
            dict(type="LoadImage"),
            dict(type="Resize", scale=(1024, 1024), keep_ratio=True),
            dict(type="LoadAnnotations", with_bbox=True, with_mask=True),
            dict(
                type="PackDetInputs",
                meta_keys=("img_id", "img_path", "ori_shape", "img_shape", "scale_factor"),
            ),
        ],
    ),
)
test_dataloader = val_dataloader
val_evaluator = dict(type="SampleCoco", metric=["bbox", "segm"])
test_evaluator = val_evaluator
val_cfg = dict()
test_cfg = dict()
