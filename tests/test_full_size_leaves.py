"""Full-size leaves at full width on four images: an update, an evaluation where it has one.

Those of WHOLE have all their blocks, the others four: what the rest would add is minutes.
"""

import numpy as np
import pytest
import timm
import torch
from leaf_facts import full_size_leaves, keep_few_blocks
from PIL import Image

from semaim_mm.data.prepare.shards import write_shards
from semaim_mm.runtime.launch import build_runner, load_config
from semaim_mm.vit import SemAIMViT

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("share_of_cores")]
ONE_LOADER = dict(batch_size=2, num_workers=0, persistent_workers=False, pin_memory=False)
SHARDS = "ImageShards"


@pytest.fixture(scope="module")
def imagenet(tmp_path_factory):
    """A folder in ImageNet's layout: two classes, four images of odd sizes a split."""
    root = tmp_path_factory.mktemp("data") / "imagenet"
    random = np.random.default_rng(0)
    for split in ("train", "val"):
        for wnid in ("n01440764", "n01443537"):
            (root / split / wnid).mkdir(parents=True)
            for index in range(2):
                size = (*random.integers(200, 420, 2), 3)
                pixels = random.integers(0, 256, size, dtype=np.uint8)
                Image.fromarray(pixels).save(root / split / wnid / f"{index}.JPEG")
    return root


@pytest.fixture(scope="module")
def vit_base(tmp_path_factory):
    """A random ViT-B/16 in a file: the strict loader at full width."""
    path = tmp_path_factory.mktemp("weights") / "vit_base.pth"
    state = SemAIMViT(arch="base").state_dict()
    torch.save(dict(state_dict={f"backbone.{k}": v for k, v in state.items()}), path)
    return path


@pytest.fixture(scope="module")
def imagenet_shards(imagenet, tmp_path_factory):
    """The same images in tar shards."""
    root = tmp_path_factory.mktemp("shards") / "imagenet-shards"
    write_shards(imagenet, root, split="train", labels=True)
    return root


def options_for(cfg, imagenet, shards) -> dict:
    """Overrides that shrink the data and the run, never the model or the pipeline."""
    options = {"data_root": str(imagenet)}
    if cfg.get("train_dataloader", {}).get("dataset", {}).get("dataset", {}).get("type") == SHARDS:
        options["train_dataloader.dataset.dataset.data_root"] = str(shards)
    for split in ("train", "val", "test"):
        if cfg.get(f"{split}_dataloader"):
            options |= {f"{split}_dataloader.{key}": value for key, value in ONE_LOADER.items()}
    if cfg.get("num_classes"):
        options["num_classes"] = 2
    if cfg.get("train_cfg"):
        options |= {"total_batch": 2, "train_cfg.max_epochs": 1}
        if cfg.get("val_cfg") is not None:
            options["train_cfg.val_interval"] = 1
    else:
        options |= {f"test_cfg.bank_dataloader.{k}": v for k, v in ONE_LOADER.items()}
        kind = cfg.test_evaluator.type
        if kind == "KNN":
            options |= {"test_evaluator.ks": [1, 2], "test_evaluator.headline_k": 2}
        elif kind == "LinearProbe":
            options |= {"test_evaluator.epochs": 2, "test_evaluator.holdout": 0.5}
    return options


CLASSIFICATION = ("cls", "pretrain", "pretrain/ablations", "pretrain/baselines")
# of these another leaf is run that differs by its length, its list of images, its width or the
# number of an argument alone; the orders are all run at the tiny size
ALIKE = ("_400e.py", "-10pct_finetune_vitb.py", "-10pct_logreg_vitb.py", "-10pct_finetune_vitl.py")
ALIKE += ("-10pct_logreg_vitl.py", "knn-cls_vitl.py", "attentive_vitl.py", "finetune-cls_vitl.py")
ALIKE += tuple(f"query-depth-{depth}.py" for depth in (1, 2, 4))
ALIKE += tuple(f"order-{o}.py" for o in ("center-out", "guided-center", "raster", "snake"))
ALIKE += ("order-stochastic.py", "order-stochastic-center.py")
WHOLE = (
    "/semaim_vitb.py",
    "/finetune_vitb.py",
    "/linear_vitb.py",
    "/probe_vitb.py",
    "/knn_vitb.py",
)
LEAVES = [name for name in full_size_leaves(*CLASSIFICATION) if not name.endswith(ALIKE)]


@pytest.mark.parametrize("name", LEAVES)
def test_a_leaf_makes_an_update_and_an_evaluation(
    name, imagenet, imagenet_shards, vit_base, tmp_path
):
    cfg = load_config(name)
    options = options_for(cfg, imagenet, imagenet_shards)
    cfg = load_config(name, options, str(tmp_path))
    cfg.default_hooks.checkpoint.interval = 100  # gigabytes that nobody reads
    cfg.default_hooks.checkpoint.save_last = False
    backbone = cfg.model.backbone
    if not name.endswith(WHOLE):
        keep_few_blocks(cfg.model)
        if backbone.get("init_cfg"):
            backbone["init_cfg"] = None
    elif backbone.get("init_cfg"):
        backbone["init_cfg"]["checkpoint"] = str(vit_base)
    target = cfg.model.get("target_generator", {})
    if "weights" in target:
        target.weights = str(tmp_path / "teacher.pth")
        torch.save(timm.create_model(target.model).state_dict(), target.weights)
    if cfg.get("train_cfg") is None:
        bank = cfg.test_cfg.bank_dataloader.dataset
        if bank.get("subset"):
            bank["subset"] = dict(fraction=1.0)
        metrics = build_runner(cfg).test()
        assert 0 <= metrics["top1"] <= 100
        return
    loader = cfg.train_dataloader
    dataset = loader.dataset.dataset
    if dataset.get("subset"):
        dataset["subset"] = dict(fraction=0.5)
    # an epoch of one update: no room for a warm-up
    cfg.param_scheduler = [dict(cfg.param_scheduler[-1], begin=0)]
    runner = build_runner(cfg)
    model = runner.train()
    losses = runner.message_hub.get_scalar("train/loss").data[0]
    assert len(losses) >= 1 and np.isfinite(losses).all()
    assert all(p.isfinite().all() for p in model.parameters())
    if cfg.get("val_cfg") is not None:
        assert 0 <= runner.message_hub.get_scalar("val/top1").current() <= 100
