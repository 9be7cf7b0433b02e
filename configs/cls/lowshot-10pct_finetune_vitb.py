"""Finetuning ViT-B/16 on 10 % of ImageNet-1K's labels, class-balanced by seed. Not run here.

A published list instead: train_dataloader.dataset.dataset.subset.file=LIST (and fraction=None).
"""

_base_ = "finetune_vitb.py"

task = "low-shot 10 %, finetune"
train_dataloader = dict(dataset=dict(dataset=dict(subset=dict(fraction=0.1, seed=0))))
