"""SemAIM, ViT-L/16, 800 epochs. Published: 85.8 top-1 after finetuning. Not run here."""

_base_ = "semaim_vitb.py"

model = dict(backbone=dict(arch="large"))
