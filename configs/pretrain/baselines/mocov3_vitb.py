"""MoCo v3, ViT-B/16, 300 epochs, mmpretrain's implementation in this suite's data and runtime.

Published: 83.2 top-1 after finetuning, 76.7 linear (MoCo v3 README). Not run here.
"""

_base_ = "../../_base_/pretrain.py"

total_batch = 4096
base_lr = 1.5e-4
accumulate = False  # negatives and the momentum encoder are a step's, not an update's
find_unused_parameters = True
temperature = 0.2
_projector = dict(
    type="NonLinearNeck",
    hid_channels=4096,
    out_channels=256,
    with_bias=False,
    with_last_bn=True,
    with_last_bn_affine=False,
    with_last_bias=False,
    with_avg_pool=False,
)
model = dict(
    _delete_=True,
    type="MoCoV3",
    base_momentum=0.01,
    backbone=dict(type="MoCoV3ViT", arch="base", img_size=224, patch_size=16, stop_grad_conv1=True),
    neck=dict(in_channels=768, num_layers=3, **_projector),
    head=dict(
        type="MoCoV3Head",
        predictor=dict(in_channels=256, num_layers=2, **_projector),
        loss=dict(type="CrossEntropyLoss", loss_weight=2 * temperature),
        temperature=temperature,
    ),
    data_preprocessor=dict(
        type="KeyedPreprocessor",
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        to_rgb=True,
        non_blocking=True,
    ),
)


def _view(blur: float, solarize: float) -> list:
    """One of the two augmentations: they differ in blur and solarisation."""
    jitter = dict(type="ColorJitter", brightness=0.4, contrast=0.4, saturation=0.2, hue=0.1)
    return [
        dict(type="RandomResizedCrop", scale=224, crop_ratio_range=(0.08, 1.0), backend="pillow"),
        dict(type="RandomApply", transforms=[jitter], prob=0.8),
        dict(
            type="RandomGrayscale",
            prob=0.2,
            keep_channels=True,
            channel_weights=(0.114, 0.587, 0.2989),
        ),
        dict(type="GaussianBlur", magnitude_range=(0.1, 2.0), magnitude_std="inf", prob=blur),
        dict(type="Solarize", thr=128, prob=solarize),
        dict(type="RandomFlip", prob=0.5),
    ]


train_dataloader = dict(
    dataset=dict(
        dataset=dict(
            pipeline=[
                dict(type="LoadImage"),
                dict(
                    type="MultiView",
                    num_views=[1, 1],
                    transforms=[_view(1.0, 0.0), _view(0.1, 0.2)],
                ),
                dict(type="PackInputs"),
            ],
        ),
    ),
)
optim_wrapper = dict(
    _delete_=True,
    constructor="GroupedConstructor",
    optimizer=dict(type="AdamW", betas=(0.9, 0.999), weight_decay=0.1),
)
train_cfg = dict(max_epochs=300)
param_scheduler = [
    dict(type="LinearLR", start_factor=1e-9, end=40, convert_to_iter_based=True),
    dict(type="CosineAnnealingLR", begin=40, eta_min=0.0, convert_to_iter_based=True),
]
