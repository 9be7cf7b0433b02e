"""Anchor: iBOT ViT-S/16, logistic regression on CLS, 10 % of labels, 73.4 (iBOT's paper, table 12).

The published list of images: test_cfg.bank_dataloader.dataset.subset.file=LIST (fraction=None).
"""

_base_ = "../lowshot-10pct_logreg_vitb.py"

model = dict(
    poolings=["cls"],
    backbone=dict(arch="small", init_cfg=dict(checkpoint="checkpoints/ibot_vits16_teacher.pth")),
)
