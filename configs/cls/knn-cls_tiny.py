"""k-NN of the tiny backbone on the shipped sample objects, CLS token; seconds.

python tools/test.py configs/cls/knn-cls_tiny.py CHECKPOINT
"""

_base_ = "knn_tiny.py"

model = dict(poolings=["cls"])
