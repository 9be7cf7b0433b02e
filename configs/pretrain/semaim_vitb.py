"""SemAIM, ViT-B/16, 800 epochs on ImageNet-1K, pixels.

Published: 84.1 top-1 after finetuning (the authors' README). Not run here.
    tools/dist_train.sh configs/pretrain/semaim_vitb.py 8
"""

_base_ = "../_base_/pretrain.py"
