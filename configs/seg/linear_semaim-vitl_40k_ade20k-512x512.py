"""Linear segmentation, frozen ViT-L/16, ADE20K, 40k updates. Not run here."""

_base_ = "linear_semaim-vitb_40k_ade20k-512x512.py"

model = dict(backbone=dict(arch="large", frozen_stages=24), decode_head=dict(in_channels=1024))
