"""Mask R-CNN of the tiny backbone, protocol "benchmarking", on the shipped scenes."""

_base_ = "mask-rcnn_tiny_vitdet.py"

recipe = "benchmarking"

# SyncBN needs an accelerator where there are several processes
norm_cfg = dict(_delete_=True, type="BN", requires_grad=True)
model = dict(
    backbone=dict(
        img_size=96,
        frozen_pos_embed=True,
        out_indices=[0, 1, 2, 3],
        windows=dict(size=6, rel_pos="shared"),
        init_cfg=dict(new_keys=["rel_pos_shared.*"], regrow_sincos=True),
    ),
    neck=[
        dict(
            type="mmseg.Feature2Pyramid",
            embed_dim=96,
            rescales=[4, 2, 1, 0.5],
            norm_cfg=dict(type="GN", num_groups=32, requires_grad=True),
        ),
        dict(
            type="FPN",
            in_channels=[96, 96, 96, 96],
            out_channels=32,
            num_outs=5,
            norm_cfg=dict(type="BN", requires_grad=True),
        ),
    ],
    roi_head=dict(
        bbox_roi_extractor=dict(type="Fp32RoIExtractor"),
        bbox_head=dict(norm_cfg=norm_cfg),
        mask_roi_extractor=dict(type="Fp32RoIExtractor"),
        mask_head=dict(norm_cfg=norm_cfg),
    ),
)
optim_wrapper = dict(paramwise_cfg=dict(_delete_=True, layer_decay_rate=1.0, norm_decay_mult=0.0))
param_scheduler = [
    dict(type="LinearLR", start_factor=1e-3, by_epoch=False, end=20),
    dict(type="CosineAnnealingLR", begin=20, eta_min=0.0, by_epoch=False),
]
