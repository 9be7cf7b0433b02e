"""A tiny SemAIM on the shipped sample scenes: the demo's pretraining, a minute on 2 cores.

python tools/train.py configs/pretrain/semaim_tiny.py
"""

_base_ = "../_base_/pretrain_sample.py"
