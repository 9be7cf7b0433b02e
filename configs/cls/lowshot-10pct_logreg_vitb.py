"""Logistic regression on frozen features, 10 % of ImageNet-1K's labels, ViT-B/16. Not run here."""

_base_ = "knn_vitb.py"

task = "low-shot 10 %, logistic regression"
test_cfg = dict(bank_dataloader=dict(dataset=dict(subset=dict(fraction=0.1, seed=0))))
test_evaluator = dict(_delete_=True, type="LogisticRegression")
