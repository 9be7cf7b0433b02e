"""MAE, ViT-B/16, 800 epochs, mmpretrain's implementation in this suite's data and runtime.

Published: 83.6 top-1 after finetuning, from 1,600 epochs (MAE README). Not run here.
"""

_base_ = "../../_base_/pretrain.py"

total_batch = 4096
base_lr = 1.5e-4
model = dict(
    _delete_=True,
    type="MAE",
    backbone=dict(type="MAEViT", arch="b", patch_size=16, mask_ratio=0.75),
    neck=dict(
        type="MAEPretrainDecoder",
        patch_size=16,
        embed_dim=768,
        decoder_embed_dim=512,
        decoder_depth=8,
        decoder_num_heads=16,
    ),
    head=dict(
        type="MAEPretrainHead",
        norm_pix=True,
        patch_size=16,
        loss=dict(type="PixelReconstructionLoss", criterion="L2"),
    ),
    init_cfg=[
        dict(type="Xavier", layer="Linear", distribution="uniform"),
        dict(type="Constant", layer="LayerNorm", val=1.0, bias=0.0),
    ],
    data_preprocessor={{_base_.model.data_preprocessor}},
)
optim_wrapper = dict(clip_grad=None)  # MAE clips nothing
param_scheduler = [
    dict(type="LinearLR", start_factor=1e-9, end=40, convert_to_iter_based=True),
    dict(type="CosineAnnealingLR", begin=40, eta_min=0.0, convert_to_iter_based=True),
]
