"""A tiny MAE on the shipped sample scenes: as wide, deep and long as the tiny SemAIM."""

_base_ = "../../_base_/pretrain_sample.py"

model = dict(
    _delete_=True,
    type="MAE",
    backbone=dict(
        type="MAEViT",
        arch=dict(embed_dims=96, num_layers=4, num_heads=4, feedforward_channels=384),
        img_size=64,
        patch_size=8,
        mask_ratio=0.75,
    ),
    neck=dict(
        type="MAEPretrainDecoder",
        num_patches=64,
        patch_size=8,
        embed_dim=96,
        decoder_embed_dim=64,
        decoder_depth=2,
        decoder_num_heads=4,
    ),
    head=dict(
        type="MAEPretrainHead",
        norm_pix=True,
        patch_size=8,
        loss=dict(type="PixelReconstructionLoss", criterion="L2"),
    ),
    init_cfg=[
        dict(type="Xavier", layer="Linear", distribution="uniform"),
        dict(type="Constant", layer="LayerNorm", val=1.0, bias=0.0),
    ],
    data_preprocessor={{_base_.model.data_preprocessor}},
)
val_dataloader = None
val_evaluator = None
val_cfg = None
