"""The tiny SemAIM with CLS after all patches in the causal order, and a register before them.

Downstream the backbone has the register too: model.backbone.num_registers=1.
"""

_base_ = "semaim_tiny.py"

model = dict(backbone=dict(num_registers=1), cls_last=True)
