"""Finetuning ViT-L/16 on 1 % of ImageNet-1K's labels, class-balanced by seed. Not run here."""

_base_ = "finetune_vitl.py"

task = "low-shot 1 %, finetune"
train_dataloader = dict(dataset=dict(dataset=dict(subset=dict(fraction=0.01, seed=0))))
