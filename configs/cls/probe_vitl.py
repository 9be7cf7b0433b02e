"""Fast linear probe on ImageNet-1K, ViT-L/16: every block, three poolings, one go. Not run here."""

_base_ = "probe_vitb.py"

model = dict(backbone=dict(arch="large"), layers=list(range(24)))
