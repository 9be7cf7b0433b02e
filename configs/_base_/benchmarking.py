"""Protocol "benchmarking": arXiv 2111.11429, 100 epochs. Windows of 16, shared tables, FPN.

Its batch norms are synchronised over an update's 64 images: use 16 devices, or a larger batch_size;
with accumulated steps their statistics are of fewer.
"""

_base_ = "detect_coco.py"

recipe = "benchmarking"

norm_cfg = dict(type="SyncBN", requires_grad=True)
model = dict(
    backbone=dict(
        img_size=1024,
        frozen_pos_embed=True,
        out_indices=[2, 5, 8, 11],
        windows=dict(size=16, rel_pos="shared"),
        init_cfg=dict(new_keys=["rel_pos_shared.*"], regrow_sincos=True),
    ),
    neck=[
        dict(
            type="mmseg.Feature2Pyramid",
            embed_dim=768,
            rescales=[4, 2, 1, 0.5],
            norm_cfg=dict(type="GN", num_groups=32, requires_grad=True),
        ),
        dict(
            type="FPN",
            in_channels=[768, 768, 768, 768],
            out_channels=256,
            num_outs=5,
            norm_cfg=norm_cfg,
        ),
    ],
    roi_head=dict(
        # this FPN ends in a batch norm, which autocast leaves in fp16; vitdet's ends in LN, in fp32
        bbox_roi_extractor=dict(type="Fp32RoIExtractor"),
        bbox_head=dict(norm_cfg=norm_cfg),
        mask_roi_extractor=dict(type="Fp32RoIExtractor"),
        mask_head=dict(norm_cfg=norm_cfg),
    ),
)
optim_wrapper = dict(
    optimizer=dict(type="AdamW", lr=8e-5, betas=(0.9, 0.999), weight_decay=0.1),
    constructor="LayerDecayConstructor",
    paramwise_cfg=dict(layer_decay_rate=1.0, norm_decay_mult=0.0),
)
train_cfg = dict(by_epoch=False, max_iters=184375, val_interval=18438)
param_scheduler = [
    dict(type="LinearLR", start_factor=1e-3, by_epoch=False, end=461),
    dict(type="CosineAnnealingLR", begin=461, eta_min=0.0, by_epoch=False),
]
