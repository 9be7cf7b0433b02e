"""Logistic regression on frozen features, 10 % of ImageNet-1K's labels, ViT-L/16. Not run here."""

_base_ = "lowshot-10pct_logreg_vitb.py"

model = dict(backbone=dict(arch="large"))
