"""k-NN on ImageNet-1K, ViT-B/16: mean of patch tokens, affine-free LayerNorm. Not run here.

python tools/test.py configs/cls/knn_vitb.py CHECKPOINT
"""

_base_ = "../_base_/features_imagenet.py"
