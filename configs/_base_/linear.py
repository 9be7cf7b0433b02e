"""Linear probe of ViT-B/16, 90 epochs: the authors' recipe (README, "Linear")."""

_base_ = "classify_imagenet.py"

task = "linear"
total_batch = 4096
base_lr = 0.1  # for 256 images

model = dict(
    backbone=dict(frozen_stages=12, out_type="cls_token"),
    neck=dict(type="ClsBatchNormNeck", input_features=768, affine=False, eps=1e-6),
    head=dict(
        loss=dict(type="CrossEntropyLoss"),
        init_cfg=dict(type="TruncNormal", layer="Linear", std=0.01),
    ),
)
train_dataloader = dict(
    batch_size=512,
    dataset=dict(
        dataset=dict(
            pipeline=[
                dict(type="LoadImage"),
                dict(
                    type="ResizeEdge",
                    scale=224,
                    edge="short",
                    backend="pillow",
                    interpolation="bicubic",
                ),
                dict(type="RandomCrop", crop_size=224),
                dict(type="RandomFlip", prob=0.5),
                dict(type="PackInputs"),
            ],
        ),
    ),
)
optim_wrapper = dict(optimizer=dict(type="SGD", momentum=0.9, weight_decay=0.0))
train_cfg = dict(by_epoch=True, max_epochs=90, val_interval=10)
param_scheduler = [dict(type="CosineAnnealingLR", eta_min=0.0, convert_to_iter_based=True)]
