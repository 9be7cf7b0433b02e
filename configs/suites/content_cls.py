"""Does it matter that CLS, first in the causal order, sees only itself in the content stream?

SemAIM, the same with a register, and with a register first and CLS last, three seeds; k-NN by the
mean of the patches, k-NN by CLS alone, and a probe of both.
    python tools/transfer.py configs/suites/content_cls.py --workers 2
"""

base = "configs/pretrain/semaim_tiny{}.py"
register = {"model.backbone.num_registers": 1}
tasks = dict(
    knn="configs/cls/knn_tiny.py",
    knn_cls="configs/cls/knn-cls_tiny.py",
    linear="configs/cls/probe-last_tiny.py",
)
with_register = {name: dict(config=leaf, options=register) for name, leaf in tasks.items()}
methods = dict(
    cls_first=dict(config=base.format("")),
    registers=dict(config=base.format("_registers"), tasks=with_register),
    cls_last=dict(config=base.format("_cls-last"), tasks=with_register),
)
seeds = [0, 1, 2]
comparisons = [("cls_last", "registers"), ("registers", "cls_first")]
del base, register, with_register
