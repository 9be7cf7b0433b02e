"""SemAIM, ViT-Ti/16, 800 epochs. No published figure."""

_base_ = "semaim_vitb.py"

model = dict(backbone=dict(arch="tiny"))
