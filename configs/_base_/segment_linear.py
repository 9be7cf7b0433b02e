"""Linear segmentation of a frozen ViT-B/16: BatchNorm and a 1 x 1 convolution, 40k updates."""

_base_ = "segment_ade20k.py"

task = "ade20k-linear"

norm_cfg = dict(type="SyncBN", requires_grad=True)
model = dict(
    # a test image smaller than the crop is padded as a training crop is
    data_preprocessor=dict(test_cfg=dict(size=(512, 512))),
    # the norm under which SemAIM's own similarity map and linear probe read the last block
    backbone=dict(frozen_stages=12, final_norm=True),
    decode_head=dict(
        type="LinearSegHead",
        in_channels=768,
        num_classes=150,
        norm_cfg=norm_cfg,
        align_corners=False,
        loss_decode=dict(type="CrossEntropyLoss", use_sigmoid=False, loss_weight=1.0),
    ),
)
optim_wrapper = dict(
    optimizer=dict(type="AdamW", lr=1e-3, betas=(0.9, 0.999), weight_decay=1e-4),
    constructor="GroupedConstructor",  # fused on CUDA
)
train_cfg = dict(by_epoch=False, max_iters=40000, val_interval=8000)
param_scheduler = [
    dict(type="LinearLR", start_factor=1e-6, by_epoch=False, end=1500),
    dict(type="PolyLR", begin=1500, eta_min=0.0, power=1.0, by_epoch=False),
]
