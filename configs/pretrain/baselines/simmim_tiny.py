"""A tiny SimMIM on a plain ViT on the shipped sample scenes."""

_base_ = "../../_base_/pretrain_sample.py"

model = dict(
    _delete_=True,
    type="PlainSimMIM",
    backbone=dict(
        type="SemAIMViT",
        arch=dict(embed_dims=96, num_layers=4, num_heads=4, feedforward_channels=384),
        img_size=64,
        patch_size=8,
        frozen_pos_embed=True,
    ),
    data_preprocessor={{_base_.model.data_preprocessor}},
)
val_dataloader = None
val_evaluator = None
val_cfg = None
