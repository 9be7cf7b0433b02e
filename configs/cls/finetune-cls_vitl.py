"""Finetuning ViT-L/16 on ImageNet-1K from the CLS token after the pretrained norm. Not run here."""

_base_ = "finetune_vitl.py"

model = dict(
    backbone=dict(
        out_type="cls_token",
        final_norm=True,
        init_cfg=dict(_delete_=True, type="BackboneCheckpoint", checkpoint=None),
    ),
)
