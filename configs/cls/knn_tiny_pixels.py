"""k-NN on raw pixels of the shipped sample objects: the row that keeps a table honest."""

_base_ = "knn_tiny.py"

checkpoint_key = None
model = dict(backbone=dict(_delete_=True, type="RawPixels"))
