"""Protocol "vitdet": arXiv 2203.16527, 100 epochs. Windows of 14, decomposed vectors, one map.

Gradients are exchanged as they are; its original compresses them to fp16.
"""

_base_ = "detect_coco.py"

recipe = "vitdet"

norm_cfg = dict(type="mmpretrain.LN2d", eps=1e-6)
model = dict(
    backbone=dict(
        # positions stay as pretrained and are interpolated in every forward pass
        img_size=224,
        windows=dict(size=14, rel_pos="decomposed", map_size=64),
        init_cfg=dict(new_keys=["layers.*.attn.rel_pos_*"]),
    ),
    neck=dict(
        _delete_=True,
        type="SimpleFeaturePyramid",
        in_channels=768,
        out_channels=256,
        norm_cfg=norm_cfg,
    ),
    roi_head=dict(bbox_head=dict(norm_cfg=norm_cfg), mask_head=dict(norm_cfg=norm_cfg)),
)
optim_wrapper = dict(
    optimizer=dict(type="AdamW", lr=1e-4, betas=(0.9, 0.999), weight_decay=0.1),
    constructor="LayerDecayConstructor",
    paramwise_cfg=dict(
        layer_decay_rate=0.7,
        norm_decay_mult=0.0,
        custom_keys={".rel_pos_": dict(decay_mult=1.0)},  # detectron2 decays them
    ),
)
train_cfg = dict(by_epoch=False, max_iters=184375, val_interval=18438)
param_scheduler = [
    dict(type="LinearLR", start_factor=1e-3, by_epoch=False, end=250),
    dict(type="MultiStepLR", milestones=[163889, 177546], gamma=0.1, by_epoch=False),
]
