"""k-NN on ImageNet-1K, ViT-B/16, CLS token after the pretrained norm. Not run here."""

_base_ = "knn_vitb.py"

model = dict(poolings=["cls"])
