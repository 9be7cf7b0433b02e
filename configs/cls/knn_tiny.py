"""k-NN of the tiny backbone on the shipped sample objects; seconds.

python tools/test.py configs/cls/knn_tiny.py CHECKPOINT
"""

_base_ = "../_base_/features_sample.py"
