"""What a leaf config resolves to: parameter groups, learning rates, pipeline. Run it to write the
table that tests compare with: ``python tests/leaf_facts.py tests/fixtures/leaf_table.json``, and
read the difference before you commit it.
"""

import json
import sys
from collections import Counter
from functools import cache
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.logging import MMLogger
from mmengine.optim import OptimWrapper, build_optim_wrapper
from mmengine.registry import MODELS, PARAM_SCHEDULERS, init_default_scope

import semaim_mm.dense  # noqa: F401  (registration)
from semaim_mm.arch import settle_arch
from semaim_mm.runtime.spread import spread_keys

ROOT = Path(__file__).parent.parent
FOLDERS = ("cls", "pretrain", "pretrain/ablations", "pretrain/baselines", "det", "seg")
EPOCH = 5  # iterations an epoch in the schedule below; a fraction of a run is what counts


def full_size_leaves(*folders: str) -> list[str]:
    """Every leaf that a full-size run uses, tiny ones and anchors left out."""
    found = []
    for folder in folders or FOLDERS:
        found += sorted((ROOT / "configs" / folder).glob("*.py"))
    names = [path.relative_to(ROOT).as_posix() for path in found]
    return [name for name in names if "tiny" not in name]


def keep_few_blocks(model: Config, blocks: int = 4) -> None:
    """Take most blocks out of a SemAIMViT, in place; its width and all that is built on it stay.

    Its whole depth is built by ``leaf_facts``, without memory.
    """
    backbone = model.backbone
    if not backbone.get("type", "SemAIMViT").endswith("SemAIMViT"):
        return
    arch = settle_arch(backbone.arch)
    depth, backbone.arch = arch["num_layers"], dict(arch, num_layers=blocks)
    if isinstance(backbone.get("out_indices"), list | tuple):
        backbone.out_indices = list(range(blocks))
    if backbone.get("frozen_stages") == depth:
        backbone.frozen_stages = blocks
    if "query_depth" in (model.get("neck") or {}):
        model.neck.query_depth = min(blocks, model.neck.query_depth)
    if len(model.get("layers", ())) > 1:
        model.layers = list(range(blocks))


def leaf_facts(name: str) -> dict:
    """A leaf's path -> its facts, comparable as JSON."""
    cfg = Config.fromfile(ROOT / name)
    init_default_scope(cfg.default_scope)
    spread_keys(cfg)
    facts = dict(pipeline=_pipeline(cfg.get("train_dataloader") or cfg.test_cfg.bank_dataloader))
    if cfg.get("test_dataloader") is not None:
        facts["test_pipeline"] = _pipeline(cfg.test_dataloader)
        facts["evaluator"] = {k: v for k, v in cfg.test_evaluator.items() if k != "ann_file"}
    if cfg.get("optim_wrapper") is None:
        return {**facts, **_features(cfg.model)}
    lr = cfg.optim_wrapper.optimizer.get("lr") or cfg.base_lr * cfg.total_batch / 256
    facts |= dict(total_batch=cfg.total_batch, lr=lr)
    facts |= {k: cfg.train_cfg[k] for k in ("max_epochs", "max_iters") if k in cfg.train_cfg}
    facts["groups"] = _groups(cfg, lr)
    facts["lr_at"] = _schedule(cfg, lr)
    return facts


def _features(model: Config) -> dict:
    return dict(layers=list(model.layers), poolings=list(model.poolings))


def _pipeline(loader: Config) -> list:
    dataset = loader.dataset
    while "dataset" in dataset:
        dataset = dataset.dataset
    subset = dataset.get("subset")
    steps = [json.loads(json.dumps(step)) for step in dataset.pipeline]
    return steps if subset is None else [dict(subset=dict(subset)), *steps]


def _groups(cfg: Config, lr: float) -> dict[str, int]:
    """-> {'lr x 0.65 weight decay 0.05': number of weights}, built without memory."""
    with torch.device("meta"):
        model = MODELS.build(cfg.model)
    wrapper = dict(cfg.optim_wrapper, type="OptimWrapper")
    wrapper["optimizer"] = dict(wrapper["optimizer"], lr=lr)
    counts = Counter()
    for group in build_optim_wrapper(model, wrapper).optimizer.param_groups:
        label = f"lr x {group['lr'] / lr:.6f}, weight decay {group['weight_decay']:g}"
        counts[label] += sum(p.numel() for p in group["params"] if p.requires_grad)
    return {label: count for label, count in sorted(counts.items()) if count}


def _schedule(cfg: Config, lr: float) -> dict[str, float]:
    """-> {share of the run: learning rate of a group that is not decayed}."""
    entries = json.dumps([dict(entry) for entry in cfg.param_scheduler])
    length = cfg.train_cfg.get("max_epochs"), cfg.train_cfg.get("max_iters")
    return _rates(entries, lr, *length)


@cache
def _rates(entries: str, lr: float, epochs: int | None, iters: int | None) -> dict[str, float]:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=lr)
    wrapper = OptimWrapper(optimizer)
    schedulers = []
    for entry in json.loads(entries):
        entry["optimizer"] = wrapper
        kind = PARAM_SCHEDULERS.get(entry.pop("type"))
        entry.setdefault("end", epochs or iters)
        if entry.pop("convert_to_iter_based", False):
            schedulers.append(kind.build_iter_from_epoch(epoch_length=EPOCH, **entry))
        else:
            schedulers.append(kind(**entry))
    total, seen = iters or epochs * EPOCH, {}
    optimizer.step()  # torch warns of schedules that run ahead of their optimiser
    wanted = {int(share * (total - 1)): share for share in (0, 0.02, 0.05, 0.25, 0.5, 1)}
    for step in range(total):
        if step in wanted:
            seen[str(wanted[step])] = float(f"{optimizer.param_groups[0]['lr']:.6g}")
        for scheduler in schedulers:
            scheduler.step()
    return seen


if __name__ == "__main__":
    MMLogger.get_instance("leaf_facts", log_level="ERROR")
    table = {name: leaf_facts(name) for name in full_size_leaves()}
    Path(sys.argv[1]).write_text(json.dumps(table, indent=1) + "\n")
