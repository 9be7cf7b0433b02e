"""SemAIM on ImageNet-1K with ViT-B/16: the authors' recipe (README and main_pretrain.py)."""

_base_ = "runtime.py"

data_root = "{{$SEMAIM_DATA:data}}/imagenet"

total_batch = 2048
base_lr = 2e-4  # for 256 images

model = dict(
    type="SemAIM",
    backbone=dict(type="SemAIMViT", arch="base", frozen_pos_embed=True),
    neck=dict(type="SemAIMDecoder", query_depth=12),
    head=dict(type="SemAIMHead", projection="mlp", loss="l2"),
    target_generator=dict(type="PixelTarget", blur_kernel=9, blur_sigma=1.0),
    order=dict(type="SemanticOrder", similarity="cls"),
    compiled=None,  # torch.compile's backend, e.g. "inductor", or a dict of its arguments
    data_preprocessor=dict(
        type="KeyedPreprocessor",
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        to_rgb=True,
        flip_prob=0.5,  # on the device; a function of seed, epoch and sample
        non_blocking=True,
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
        dataset=dict(
            type="ImageFolder",
            split="train",
            pipeline=[
                dict(type="LoadCrop", scale=224, crop_ratio_range=(0.2, 1.0)),
                dict(type="PackInputs"),
            ],
        ),
    ),
)

optim_wrapper = dict(
    optimizer=dict(type="AdamW", betas=(0.9, 0.95), weight_decay=0.05),
    constructor="GroupedConstructor",  # few groups; fused on CUDA unless optimizer.fused is set
    clip_grad=dict(max_norm=3.0),  # by foreach, torch's default on CUDA
    # only 1-D parameters escape decay: the CLS token is 3-D and decays, as the authors' does
    paramwise_cfg=dict(norm_decay_mult=0.0, bias_decay_mult=0.0, flat_decay_mult=0.0),
)
train_cfg = dict(by_epoch=True, max_epochs=800)
param_scheduler = [
    # a factor of exactly 0 is refused by mmengine
    dict(type="LinearLR", start_factor=1e-9, end=30, convert_to_iter_based=True),
    dict(type="CosineAnnealingLR", begin=30, eta_min=0.0, convert_to_iter_based=True),
]
custom_hooks = [
    dict(type="SeedStepHook"),
    dict(type="EMAUpdateHook"),
    dict(type="BudgetHook"),
    dict(type="SkippedImagesHook"),
]
