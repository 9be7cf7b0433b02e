"""Anchor: iBOT ViT-B/16, logistic regression on CLS, 1 % of labels, 69.7 (MSN's paper, table 2).

The published list of images: test_cfg.bank_dataloader.dataset.subset.file=LIST (fraction=None).
"""

_base_ = "../lowshot-1pct_logreg_vitb.py"

model = dict(
    poolings=["cls"], backbone=dict(init_cfg=dict(checkpoint="checkpoints/ibot_vitb16_teacher.pth"))
)
