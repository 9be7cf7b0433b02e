"""Every full-size detection and segmentation leaf at full width: an update and an evaluation.

Those of WHOLE have all their blocks, the others four: what the rest would add is minutes.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from dense_data import write_ade, write_coco
from leaf_facts import full_size_leaves, keep_few_blocks
from mmdet.datasets import CocoDataset
from mmengine.config import Config

from semaim_mm.runtime.evaluate import evaluate
from semaim_mm.runtime.launch import build_runner, load_config
from semaim_mm.vit import SemAIMViT

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("share_of_cores")]
# the multi-scale leaf trains nothing of its own; of the others another leaf is run that differs by
# its length or its width alone
ALIKE = ("-ms.py", "-25ep_coco.py", "-50ep_coco.py", "upernet_semaim-vitl_160k_ade20k-512x512.py")
ALIKE += ("mask-rcnn_semaim-vitl_vitdet-100ep_coco.py",)
WHOLE = (
    "/mask-rcnn_semaim-vitb_vitdet-100ep_coco.py",
    "/upernet_semaim-vitb_160k_ade20k-512x512.py",
)
TRAINED = [name for name in full_size_leaves("det", "seg") if not name.endswith(ALIKE)]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """COCO and ADE20K in their published layouts, two images a split, none of them square."""
    root = tmp_path_factory.mktemp("data")
    names = CocoDataset.METAINFO["classes"]
    write_coco(root / "coco", names, ("train2017", "val2017"), size=(320, 240))
    write_ade(root / "ade" / "ADEChallengeData2016", classes=150, size=(320, 256))
    return root


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory):
    """Random ViT-B/16, whole and of few blocks, and ViT-L/16 of few, as pretraining writes them."""
    folder = tmp_path_factory.mktemp("weights")
    for arch, whole in (("base", True), ("base", False), ("large", False)):
        model = Config(dict(backbone=dict(arch=arch)))
        if not whole:
            keep_few_blocks(model)
        state = {f"backbone.{k}": v for k, v in SemAIMViT(**model.backbone).state_dict().items()}
        torch.save(state, folder / (arch if whole else f"{arch} of few blocks"))
    return folder


def weights_for(name: str) -> str:
    """The name of the file of weights that a leaf starts from here."""
    arch = "large" if "vitl" in name else "base"
    return arch if name.endswith(WHOLE) else f"{arch} of few blocks"


def options_for(name: str, data, checkpoints) -> dict:
    """Overrides that shrink the data and the run, never the model or the pipeline."""
    folder = "coco" if "/det/" in name else "ade/ADEChallengeData2016"
    found = {
        "data_root": str(data / folder),
        "total_batch": 2 if "/seg/" in name else 1,
        "train_cfg.max_iters": 1,
        "train_cfg.val_interval": 1,
        "default_hooks.checkpoint.interval": 100,  # gigabytes that nobody reads
        "default_hooks.checkpoint.save_last": False,
        "model.backbone.init_cfg.checkpoint": str(checkpoints / weights_for(name)),
        # 4,096 tokens see each other: without it, more memory than two-core machines have
        "model.backbone.with_cp": True,
    }
    for split in ("train", "val", "test"):
        loader = f"{split}_dataloader"
        found |= {f"{loader}.num_workers": 0, f"{loader}.persistent_workers": False}
    found["train_dataloader.batch_size"] = found["total_batch"]
    found["val_dataloader.dataset.indices"] = [0]  # a minute an image
    return found


@pytest.mark.parametrize("name", TRAINED)
def test_a_leaf_makes_an_update_and_an_evaluation(name, data, checkpoints, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    options = options_for(name, data, checkpoints)
    if "relpos" in name:  # its heads are those of the leaf that it inherits from
        options |= {"model.decode_head.channels": 64, "model.auxiliary_head.channels": 64}
    cfg = load_config(name, options, str(tmp_path))
    if not name.endswith(WHOLE):
        keep_few_blocks(cfg.model)
    # a run of one update has no room for a warm-up
    cfg.param_scheduler = [dict(type="ConstantLR", factor=1.0, by_epoch=False)]
    runner = build_runner(cfg)
    model = runner.train()
    losses = runner.message_hub.get_scalar("train/loss").data[0]
    assert len(losses) == 1 and np.isfinite(losses).all()
    assert all(p.isfinite().all() for p in model.parameters())
    frozen = cfg.model.backbone.get("frozen_stages", -1) > 0
    weight = "backbone.layers.0.attn.qkv.weight"
    start = torch.load(checkpoints / weights_for(name))[weight]
    assert torch.equal(start, model.state_dict()[weight]) == frozen
    metric = "bbox_mAP" if "/det/" in name else "mIoU"
    assert 0 <= runner.message_hub.get_scalar(f"val/{metric}").current() <= 100


@pytest.mark.parametrize("epochs", [25, 50])
def test_shorter_leaves_differ_by_their_length_alone(epochs):
    name = "configs/det/mask-rcnn_semaim-vitb_benchmarking-{}ep_coco.py"
    long, short = (load_config(name.format(number), {}, "x").to_dict() for number in (100, epochs))
    assert short["train_cfg"].pop("max_iters") == round(184375 * epochs / 100)
    assert long["train_cfg"].pop("max_iters") == 184375
    assert long == short


def test_the_multi_scale_leaf_evaluates(data, checkpoints, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    name = "configs/seg/upernet_semaim-vitb_160k_ade20k-512x512-ms.py"
    options = options_for(name, data, checkpoints)
    pipeline = load_config(name).test_dataloader.dataset.pipeline
    scales = [step["scale"] for step in pipeline[1].transforms[0]]
    assert scales == [512, 512, 512, 640, 768, 896]
    # its model is that of the single-scale leaf, tested above; 96 windows of it are not for CPUs
    arch = dict(_delete_=True, embed_dims=96, num_layers=12, num_heads=4, feedforward_channels=384)
    options |= {
        "model.backbone.arch": arch,
        "model.neck.embed_dim": 96,
        "model.decode_head.in_channels": [96] * 4,
        "model.decode_head.channels": 32,
        "model.auxiliary_head.in_channels": 96,
    }
    result = evaluate(name, "random", str(tmp_path), options)
    assert result["n_evaluated"] == 2 and 0 <= result["metrics"]["mIoU"]["value"] <= 100
