"""All orders and the baselines through every task on the shipped sample data, three seeds.

Hours on two cores; it can be stopped at any time and started again. Not run to its end yet.
    python tools/transfer.py configs/suites/small.py
"""

methods = dict(
    semantic=dict(config="configs/pretrain/semaim_tiny.py"),
    raster=dict(config="configs/pretrain/semaim_tiny_order-raster.py"),
    snake=dict(config="configs/pretrain/semaim_tiny_order-snake.py"),
    stochastic=dict(config="configs/pretrain/semaim_tiny_order-stochastic.py"),
    mae=dict(config="configs/pretrain/baselines/mae_tiny.py"),
    simmim=dict(config="configs/pretrain/baselines/simmim_tiny.py"),
    random=dict(checkpoint="random"),
    pixels=dict(
        tasks=dict(
            knn="configs/cls/knn_tiny_pixels.py", linear="configs/cls/probe-last_tiny_pixels.py"
        ),
        seeds=[0],
    ),
)
tasks = dict(
    knn="configs/cls/knn_tiny.py",
    linear="configs/cls/probe-last_tiny.py",
    finetune="configs/cls/finetune_tiny.py",
    coco="configs/det/mask-rcnn_tiny_vitdet-2500it.py",
    ade20k="configs/seg/upernet_tiny-4000it.py",
)
seeds = [0, 1, 2]
comparisons = [("semantic", "raster"), ("semantic", "random")]
