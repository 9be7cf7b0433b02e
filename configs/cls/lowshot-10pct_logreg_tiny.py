"""Logistic regression on frozen features of the tiny backbone, a tenth of the labels."""

_base_ = "knn_tiny.py"

task = "low-shot 10 %, logistic regression"
test_cfg = dict(bank_dataloader=dict(dataset=dict(subset=dict(fraction=0.1, seed=0))))
test_evaluator = dict(_delete_=True, type="LogisticRegression")
