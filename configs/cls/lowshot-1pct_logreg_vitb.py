"""Logistic regression on frozen features, 1 % of ImageNet-1K's labels, ViT-B/16. Not run here."""

_base_ = "knn_vitb.py"

task = "low-shot 1 %, logistic regression"
test_cfg = dict(bank_dataloader=dict(dataset=dict(subset=dict(fraction=0.01, seed=0))))
test_evaluator = dict(_delete_=True, type="LogisticRegression")
