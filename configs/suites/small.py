"""All orders and the baselines through all tasks on the shipped sample data; three seeds.

MAE and SimMIM stand twice: after as many epochs as SemAIM, and after as many FLOPs. (An image costs
orders of a similarity map 397 MFLOP here, other orders 330, SimMIM 204, MAE 101.) Detection and
segmentation take 8 to 21 minutes a run, all about twelve hours on two cores; it can be stopped at
any time and started again, and what was finished elsewhere restored (docs/suites.md).
    python tools/transfer.py configs/suites/small.py --workers 2
"""

methods = dict(
    semantic=dict(config="configs/pretrain/semaim_tiny.py"),
    raster=dict(config="configs/pretrain/semaim_tiny_order-raster.py"),
    random=dict(checkpoint="random"),
    mae=dict(config="configs/pretrain/baselines/mae_tiny.py"),
    simmim=dict(config="configs/pretrain/baselines/simmim_tiny.py"),
    mae_4ep=dict(
        config="configs/pretrain/baselines/mae_tiny.py",
        options={"train_cfg.max_epochs": 4},
    ),
    simmim_2ep=dict(
        config="configs/pretrain/baselines/simmim_tiny.py",
        options={"train_cfg.max_epochs": 2},
    ),
    snake=dict(config="configs/pretrain/semaim_tiny_order-snake.py"),
    stochastic=dict(config="configs/pretrain/semaim_tiny_order-stochastic.py"),
    center_out=dict(config="configs/pretrain/semaim_tiny_order-center-out.py"),
    stochastic_center=dict(config="configs/pretrain/semaim_tiny_order-stochastic-center.py"),
    guided_center=dict(config="configs/pretrain/semaim_tiny_order-guided-center.py"),
    multi_center=dict(config="configs/pretrain/semaim_tiny_order-multi-center.py"),
    similarity=dict(config="configs/pretrain/semaim_tiny_order-similarity.py"),
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
    coco="configs/det/mask-rcnn_tiny_vitdet-1000it.py",
    ade20k="configs/seg/upernet_tiny-1000it.py",
)
seeds = [0, 1, 2]
comparisons = [("semantic", "raster"), ("semantic", "random")]
# what an untrained detector and segmenter score: tools/test.py LEAF random, 2026-11-29
notes = dict(
    coco=f"Untrained, head and all: AP50 0.02, AR 0.93 (tools/test.py {tasks['coco']} random).",
    ade20k=f"Untrained, head and all: mIoU 10.21 (tools/test.py {tasks['ade20k']} random).",
)
