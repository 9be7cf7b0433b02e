"""k-NN on ImageNet-1K, ViT-L/16, CLS token after the pretrained norm. Not run here."""

_base_ = "knn_vitl.py"

model = dict(poolings=["cls"])
