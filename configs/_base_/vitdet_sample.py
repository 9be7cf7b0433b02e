"""Mask R-CNN of the tiny backbone on the shipped sample scenes (96 px, three classes)."""

_base_ = "vitdet.py"

data_root = "{{$SEMAIM_DATA:data}}/sample/coco"
classes = ["animal", "food", "vehicle"]
total_batch = 8

norm_cfg = dict(type="mmpretrain.LN2d", eps=1e-6)
model = dict(
    data_preprocessor=dict(pad_size_divisor=96),
    backbone=dict(
        arch=dict(
            _delete_=True, embed_dims=96, num_layers=4, num_heads=4, feedforward_channels=384
        ),
        img_size=64,
        patch_size=8,
        windows=dict(size=4, global_blocks=[1, 3], map_size=12),
    ),
    neck=dict(in_channels=96, out_channels=32),
    # patches of 8 pixels: every level is half as coarse as with 16
    rpn_head=dict(
        in_channels=32,
        feat_channels=32,
        anchor_generator=dict(strides=[2, 4, 8, 16, 32]),
    ),
    roi_head=dict(
        bbox_roi_extractor=dict(
            out_channels=32,
            featmap_strides=[2, 4, 8, 16],
            finest_scale=28,
            roi_layer=dict(sampling_ratio=2),
        ),
        bbox_head=dict(in_channels=32, conv_out_channels=32, fc_out_channels=128),
        mask_roi_extractor=dict(
            out_channels=32,
            featmap_strides=[2, 4, 8, 16],
            finest_scale=28,
            roi_layer=dict(sampling_ratio=2),
        ),
        mask_head=dict(in_channels=32, conv_out_channels=32),
    ),
    train_cfg=dict(
        rpn=dict(sampler=dict(num=64)),
        rpn_proposal=dict(nms_pre=200, max_per_img=100),
        rcnn=dict(sampler=dict(num=32)),
    ),
    test_cfg=dict(rpn=dict(nms_pre=200, max_per_img=100), rcnn=dict(max_per_img=20)),
)
train_dataloader = dict(
    batch_size=8,
    num_workers=1,
    pin_memory=False,
    dataset=dict(
        dataset=dict(
            ann_file="annotations/instances_train.json",
            data_prefix=dict(img="train/"),
            pipeline=[
                dict(type="LoadImage"),
                dict(type="LoadAnnotations", with_bbox=True, with_mask=True),
                dict(type="RandomResize", scale=(96, 96), ratio_range=(0.5, 2.0), keep_ratio=True),
                dict(
                    type="RandomCrop",
                    crop_type="absolute_range",
                    crop_size=(96, 96),
                    recompute_bbox=True,
                    allow_negative_crop=True,
                ),
                dict(type="FilterAnnotations", min_gt_bbox_wh=(1e-2, 1e-2), keep_empty=False),
                dict(type="RandomFlip", prob=0.5),
                dict(type="PackDetInputs"),
            ],
        ),
    ),
)
val_dataloader = dict(
    batch_size=10,
    num_workers=1,
    dataset=dict(
        ann_file="annotations/instances_val.json",
        data_prefix=dict(img="val/"),
        pipeline=[
            dict(type="LoadImage"),
            dict(type="Resize", scale=(96, 96), keep_ratio=True),
            dict(type="LoadAnnotations", with_bbox=True, with_mask=True),
            dict(
                type="PackDetInputs",
                meta_keys=("img_id", "img_path", "ori_shape", "img_shape", "scale_factor"),
            ),
        ],
    ),
)
test_dataloader = val_dataloader
optim_wrapper = dict(optimizer=dict(lr=1e-3), paramwise_cfg=dict(layer_decay_rate=0.8))
train_cfg = dict(max_iters=150, val_interval=150)
param_scheduler = [
    dict(type="LinearLR", start_factor=1e-3, by_epoch=False, end=20),
    dict(type="MultiStepLR", milestones=[130, 145], gamma=0.1, by_epoch=False),
]
default_hooks = dict(checkpoint=dict(interval=150), logger=dict(interval=10))
