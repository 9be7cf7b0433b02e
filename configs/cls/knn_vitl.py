"""k-NN on ImageNet-1K, ViT-L/16. Not run here."""

_base_ = "knn_vitb.py"

model = dict(backbone=dict(arch="large"))
