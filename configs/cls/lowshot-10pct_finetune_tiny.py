"""Finetuning the tiny backbone on a tenth of the shipped objects' labels."""

_base_ = "finetune_tiny.py"

task = "low-shot 10 %, finetune"
train_dataloader = dict(dataset=dict(dataset=dict(subset=dict(fraction=0.1, seed=0))))
