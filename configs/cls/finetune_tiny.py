"""Finetuning the tiny backbone on the shipped sample objects; a minute on two cores.

    python tools/train.py configs/cls/finetune_tiny.py \
        --cfg-options model.backbone.init_cfg.checkpoint=CHECKPOINT
"""

_base_ = "../_base_/finetune_sample.py"
