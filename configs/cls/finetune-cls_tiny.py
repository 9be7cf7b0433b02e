"""Finetuning the tiny backbone on the shipped objects, reading CLS after the pretrained norm."""

_base_ = "finetune_tiny.py"

model = dict(backbone=dict(out_type="cls_token", final_norm=True, init_cfg=dict(new_keys=[])))
