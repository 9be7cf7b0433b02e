"""UperNet, ViT-L/16, ADE20K, 160k updates, single scale. Not run here."""

_base_ = "upernet_semaim-vitb_160k_ade20k-512x512.py"

model = dict(
    backbone=dict(arch="large", out_indices=[7, 11, 15, 23], drop_path_rate=0.2),
    neck=dict(embed_dim=1024),
    decode_head=dict(in_channels=[1024, 1024, 1024, 1024]),
    auxiliary_head=dict(in_channels=1024),
)
optim_wrapper = dict(paramwise_cfg=dict(layer_decay_rate=0.75))
