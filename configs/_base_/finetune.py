"""Finetuning ViT-B/16 for 100 epochs: the authors' recipe (README, "Finetune")."""

_base_ = "classify_imagenet.py"

task = "finetune"
total_batch = 1024
base_lr = 5e-4  # for 256 images

model = dict(
    backbone=dict(
        drop_path_rate=0.1,
        out_type="avg_featmap",
        final_norm=False,
        # the norm after mean pooling is new; the pretrained final norm is not used
        init_cfg=dict(new_keys=["ln2.*"]),
    ),
    head=dict(
        loss=dict(type="LabelSmoothLoss", label_smooth_val=0.1, mode="original"),
        init_cfg=dict(type="TruncNormal", layer="Linear", std=2e-5),
    ),
    train_cfg=dict(augments=[dict(type="Mixup", alpha=0.8), dict(type="CutMix", alpha=1.0)]),
)
train_dataloader = dict(
    dataset=dict(
        dataset=dict(
            pipeline=[
                dict(type="LoadImage"),
                dict(
                    type="RandomResizedCrop", scale=224, backend="pillow", interpolation="bicubic"
                ),
                dict(type="RandomFlip", prob=0.5),
                dict(
                    type="RandAugment",
                    policies="timm_increasing",
                    num_policies=2,
                    total_level=10,
                    magnitude_level=9,
                    magnitude_std=0.5,
                    hparams=dict(pad_val=[104, 116, 124], interpolation="bicubic"),
                ),
                dict(
                    type="RandomErasing",
                    erase_prob=0.25,
                    mode="rand",
                    min_area_ratio=0.02,
                    max_area_ratio=1 / 3,
                    fill_color=[103.53, 116.28, 123.675],
                    fill_std=[57.375, 57.12, 58.395],
                ),
                dict(type="PackInputs"),
            ],
        ),
    ),
)
optim_wrapper = dict(
    optimizer=dict(type="AdamW", betas=(0.9, 0.999), weight_decay=0.05),
    constructor="LayerDecayConstructor",
    paramwise_cfg=dict(
        layer_decay_rate=0.65,
        norm_decay_mult=0.0,
        bias_decay_mult=0.0,
        flat_decay_mult=0.0,
    ),
)
train_cfg = dict(by_epoch=True, max_epochs=100, val_interval=5)
param_scheduler = [
    dict(type="LinearLR", start_factor=1e-9, end=20, convert_to_iter_based=True),
    # 1e-6 of 2e-3, as a ratio: every layer ends at its own share of the minimum
    dict(type="CosineAnnealingLR", begin=20, eta_min_ratio=5e-4, convert_to_iter_based=True),
]
