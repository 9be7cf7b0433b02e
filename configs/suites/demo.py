"""The demo's suite: three methods through every task on the shipped sample data, one seed."""

methods = dict(
    semantic=dict(config="configs/pretrain/semaim_tiny.py"),
    raster=dict(config="configs/pretrain/semaim_tiny_order-raster.py"),
    random=dict(checkpoint="random"),
    pixels=dict(tasks=dict(knn="configs/cls/knn_tiny_pixels.py")),
)
tasks = dict(
    knn="configs/cls/knn_tiny.py",
    linear="configs/cls/probe-last_tiny.py",
    finetune="configs/cls/finetune_tiny.py",
    coco="configs/det/mask-rcnn_tiny_vitdet.py",
    ade20k="configs/seg/upernet_tiny.py",
)
seeds = [0]
comparisons = [("semantic", "random")]
notes = dict(
    coco="150 updates of 8: this proves that everything connects, and ranks nothing.",
    ade20k="300 updates of 8, as short.",
)
