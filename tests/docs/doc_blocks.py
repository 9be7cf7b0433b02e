"""Blocks of the documentation that are made, not typed: recipes, helps, modules, measured grids.

A page marks one by ``<!-- made: recipe LEAF LEAF -->``, ``<!-- made: help TOOL -->``,
``<!-- made: modules PACKAGE -->`` or ``<!-- made: grid CSV -->`` (``suite``, ``comparisons`` and
``proxy``: see measured_suite.py; ``analysis``: analysis_block.py; ``benchmark``:
benchmark_block.py), and ``<!-- end -->``.
``python tests/docs/doc_blocks.py`` writes them all anew; read the difference before you commit it.
"""

from __future__ import annotations

import importlib.util
import io
import os
import re
import sys
from collections.abc import Mapping
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

from analysis_block import block
from benchmark_block import benchmark
from grid_block import grid
from measured_suite import comparison_table, proxy_table, suite_table
from mmengine.config import Config
from mmengine.registry import init_default_scope

import semaim_mm.dense  # noqa: F401  (registration)
from semaim_mm.runtime.spread import spread_keys
from semaim_mm.transfer.protocol import PROTOCOLS
from semaim_mm.windows import Windows

ROOT = Path(__file__).resolve().parents[2]
BLOCK = re.compile(r"(<!-- made: (\w+) ([^>]*?) -->\n)(.*?)(<!-- end -->)", re.DOTALL)
# of a step of a pipeline: how, not what
UNTOLD = ("type", "backend", "interpolation", "policies", "hparams", "fill_color", "fill_std")
UNTOLD += ("num_policies", "total_level", "meta_keys", "crop_type", "recompute_bbox", "keep_empty")
UNTOLD += ("allow_negative_crop", "with_bbox", "with_mask", "min_gt_bbox_wh")


def pages() -> list[Path]:
    """README and every page of the documentation."""
    return [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def made_anew(text: str) -> str:
    """A page -> the same with every block made again."""
    return BLOCK.sub(lambda m: f"{m[1]}\n{KINDS[m[2]](*m[3].split())}\n{m[5]}", text)


def recipe(*leaves: str) -> str:
    """Leaves -> a table of their numbers, a column a leaf."""
    found = [facts(leaf) for leaf in leaves]
    names = [Path(leaf).stem for leaf in leaves]
    lines = [["", *(f"`{name}`" for name in names)], ["--"] * (len(names) + 1)]
    for key in dict.fromkeys(key for each in found for key in each):
        values = [each.get(key, "-") for each in found]
        lines.append([key, *values])
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def help_text(tool: str, *subcommand: str) -> str:
    """A tool -> what it says of itself, or of a sub-command, in 80 columns."""
    spec = importlib.util.spec_from_file_location("shown_tool", ROOT / tool)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    former, width = sys.argv, os.environ.get("COLUMNS")
    sys.argv, os.environ["COLUMNS"] = [tool, *subcommand, "--help"], "80"
    try:
        with redirect_stdout(io.StringIO()) as told:
            module.main()
    except SystemExit:
        pass
    finally:
        sys.argv = former
        os.environ.pop("COLUMNS") if width is None else os.environ.update(COLUMNS=width)
    return f"```text\n{told.getvalue().rstrip()}\n```\n"


def modules(package: str) -> str:
    """A package -> a heading and mkdocstrings' mark for each of its modules, at any depth."""
    folder, found = ROOT / package.replace(".", "/"), []
    for path in sorted(folder.rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        if parts[-1] != "__init__" and not parts[-1].startswith("_"):
            name = ".".join(parts)
            found.append(f"## {name.removeprefix(f'{package}.')}\n\n::: {name}\n")
    return "\n".join(found)


KINDS = {"recipe": recipe, "help": help_text, "modules": modules, "grid": grid}
KINDS |= {"suite": suite_table, "comparisons": comparison_table, "proxy": proxy_table}
KINDS |= {"analysis": block, "benchmark": benchmark}


def facts(leaf: str) -> dict[str, str]:
    """A leaf -> its recipe in words and numbers, from the resolved config."""
    cfg = Config.fromfile(ROOT / leaf)
    init_default_scope(cfg.default_scope)
    spread_keys(cfg)
    found = _length(cfg) if cfg.get("optim_wrapper") else {}
    found |= _backbone(cfg.model)
    if cfg.get("optim_wrapper"):
        found |= _optimiser(cfg) | _loss(cfg.model)
    found |= _images(cfg)
    if cfg.model.get("type") == "FeatureModel":
        settings = vars(PROTOCOLS.build(cfg.test_evaluator))
        found["judged by"] = f"{cfg.test_evaluator.type}: {_settings(settings)}"
    return found


def _length(cfg: Config) -> dict[str, str]:
    loop = cfg.train_cfg
    length = f"{loop.max_iters:,} updates" if "max_iters" in loop else f"{loop.max_epochs} epochs"
    rate = cfg.optim_wrapper.optimizer.get("lr")
    told = (
        f"{rate:g}"
        if rate
        else (
            f"{cfg.base_lr:g} x {cfg.total_batch} / 256 = {cfg.base_lr * cfg.total_batch / 256:g}"
        )
    )
    return {"length": length, "images in an update": str(cfg.total_batch), "learning rate": told}


def _optimiser(cfg: Config) -> dict[str, str]:
    wrapper, unit = cfg.optim_wrapper, "updates" if "max_iters" in cfg.train_cfg else "epochs"
    optimizer, special = wrapper.optimizer, wrapper.get("paramwise_cfg") or {}
    steps = []
    for entry in cfg.param_scheduler:
        if entry.type == "LinearLR":
            steps.append(f"{entry.end:g} {unit} of linear warm-up")
        elif entry.type == "MultiStepLR":
            at = " and ".join(f"{step:,}" for step in entry.milestones)
            steps.append(f"x {entry.gamma:g} at {at}")
        else:
            low = entry.get("eta_min_ratio")
            end = f"to {low:g} of the rate" if low else "to 0"
            kind = dict(CosineAnnealingLR="cosine", PolyLR=f"poly {entry.get('power', 1):g}")
            steps.append(f"{kind[entry.type]} {end}")
    what = [f"momentum {optimizer.momentum:g}"] if "momentum" in optimizer else []
    what += [f"betas {tuple(optimizer.betas)}"] if "betas" in optimizer else []
    found = {
        "schedule": ", ".join(steps),
        "optimiser": ", ".join([optimizer.type, *what]),
        "weight decay": f"{optimizer.get('weight_decay', 0):g}",
    }
    if special.get("layer_decay_rate", 1) != 1:
        found["layer decay"] = f"{special['layer_decay_rate']:g}"
    if wrapper.get("clip_grad"):
        found["gradients clipped at"] = f"{wrapper.clip_grad.max_norm:g}"
    return found


def _backbone(model: Mapping) -> dict[str, str]:
    backbone = model["backbone"]
    found = {"drop path": f"{backbone['drop_path_rate']:g}"} if "drop_path_rate" in backbone else {}
    if model["type"] == "FeatureModel":
        return (
            found
            | {"blocks read": _settings_value(model["layers"])}
            | {"pooling": ", ".join(model["poolings"])}
        )
    if model["type"] == "SemAIM":
        order, target = model["order"], model["target_generator"]
        found["order"] = f"{order['type']}, map by {order['similarity']}"
        found["target"] = f"pixels, blur {target['blur_kernel']} x {target['blur_kernel']}"
        found["query blocks"] = str(model["neck"]["query_depth"])
    if backbone.get("windows"):
        windows = Windows.read(backbone["windows"]).settle(
            {"base": 12, "large": 24}[backbone["arch"]], (64, 64)
        )
        found["windows"] = (
            f"side {windows.size}, global blocks {', '.join(map(str, windows.global_blocks))}, "
            f"{windows.rel_pos} relative position"
        )
    if backbone.get("out_type") == "featmap":
        taps = backbone.get("out_indices", -1)
        found["taps after blocks"] = "the last" if taps == -1 else ", ".join(map(str, taps))
        frozen = backbone.get("frozen_pos_embed") or backbone.get("frozen_stages", -1) > 0
        found["position table"] = "frozen" if frozen else "trains"
        necks = model.get("neck") or []
        necks = necks if isinstance(necks, list) else [necks]
        found["neck"] = " -> ".join(neck["type"] for neck in necks) or "none"
    elif model["type"] == "ImageClassifier":
        words = dict(avg_featmap="mean of patch tokens, new LayerNorm", cls_token="CLS")
        found["pooling"] = words[backbone.get("out_type", "cls_token")]
    return found


def _loss(model: Mapping) -> dict[str, str]:
    found = {}
    if model["type"] == "ImageClassifier":
        loss = model["head"]["loss"]
        found["loss"] = f"{loss['type']} {loss.get('label_smooth_val', '')}".strip()
        kinds = (model.get("train_cfg") or {}).get("augments") or ()
        found["mixed in a batch"] = ", ".join(f"{m['type']} {m['alpha']:g}" for m in kinds) or "-"
    for name in ("decode_head", "auxiliary_head"):
        if model.get(name):
            head = model[name]
            weight = head["loss_decode"]["loss_weight"]
            found[name.replace("_", " ")] = f"{head['type']}, loss x {weight:g}"
    return found


def _images(cfg: Config) -> dict[str, str]:
    train = cfg.get("train_dataloader") or (cfg.get("test_cfg") or {}).get("bank_dataloader")
    found = {"training images": _pipeline(train)}
    share = (cfg.model.get("data_preprocessor") or {}).get("flip_prob")
    if share:
        found["training images"] += f", flips(prob {share:g})"
    if cfg.get("test_dataloader"):
        found["test images"] = _pipeline(cfg.test_dataloader)
    slide = (cfg.model.get("test_cfg") or {}).get("mode") == "slide"
    if slide:
        crop, stride = cfg.model.test_cfg.crop_size[0], cfg.model.test_cfg.stride[0]
        found["test"] = f"sliding window {crop}, stride {stride}"
    return found


def _pipeline(loader: Mapping) -> str:
    dataset = loader["dataset"]
    while "dataset" in dataset:
        dataset = dataset["dataset"]
    plain = ("LoadImage", "PackInputs", "PackDetInputs", "PackSegInputs", "FilterAnnotations")
    steps = [_step(s) for s in dataset["pipeline"] if s["type"] not in (*plain, "LoadAnnotations")]
    subset = dataset.get("subset")
    steps = ([f"subset {_settings(subset)}"] if subset else []) + steps
    return ", ".join(steps) or "as they are"


def _step(step: Mapping) -> str:
    if step["type"] == "TestTimeAug":
        views = [len(choices) for choices in step["transforms"] if len(choices) > 1]
        return " x ".join(map(str, views)) + " views (sizes x flips)"
    settings = {k: v for k, v in step.items() if k not in UNTOLD}
    return f"{step['type']}({_settings(settings)})" if settings else step["type"]


def _settings(values: Mapping[str, Any]) -> str:
    shown = {k: v for k, v in values.items() if not k.startswith("_") and v is not None}
    return ", ".join(f"{k} {_settings_value(v)}" for k, v in shown.items())


def _settings_value(value: Any) -> str:
    if isinstance(value, list | tuple):
        if len(value) > 4 and list(value) == list(range(len(value))):
            return f"0 to {len(value) - 1}"
        return " / ".join(map(_settings_value, value))
    return f"{value:g}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    for page in pages():
        page.write_text(made_anew(page.read_text()))
