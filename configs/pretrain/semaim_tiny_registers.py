"""The tiny SemAIM with a register after CLS: a token before all patches that is free to train.

Downstream the backbone has the register too: model.backbone.num_registers=1.
"""

_base_ = "semaim_tiny.py"

model = dict(backbone=dict(num_registers=1))
