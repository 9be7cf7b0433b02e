"""A whole model saved here tells the run that loads it what its backbone and preprocessor were.

``RecordHook`` writes the resolved model config into every checkpoint; testing a finetuned CLIP with
the leaf of a plain ViT then gives CLIP's activation, epsilon, mean and std, not the leaf's.
"""

from collections.abc import MutableMapping
from typing import Any

from semaim_mm.interop.carry_fill import carry_fill
from semaim_mm.interop.checkpoint_file import read_file
from semaim_mm.runtime.reliable.header import check_header

# what travels with weights; drop path and frozen parts are the recipe's
TRAITS = (
    "arch",
    "img_size",
    "patch_size",
    "norm_cfg",
    "layer_cfgs",
    "patch_cfg",
    "pre_norm",
    "qkv_bias",
    "layer_scale_init_value",
    "num_registers",
    "rel_pos_bias",
    "with_cls_token",
    "final_norm",
)


def carry_own(cfg: MutableMapping[str, Any]) -> list[str]:
    """Change a config in place as the record in its ``load_from`` says -> a line a change."""
    checkpoint = read_file(cfg["load_from"])
    check_header(checkpoint, cfg["load_from"], resumes=False)
    record = checkpoint["meta"].get("model")
    model = cfg["model"]
    if record is None or "backbone" not in model:
        return []
    # who goes on has a config of the same sizes, so another arch is another run's checkpoint
    names = tuple(name for name in TRAITS if not (name == "arch" and cfg.get("resume")))
    lines = _carry(record["backbone"], model["backbone"], names, "backbone")
    preprocessor = model.get("data_preprocessor")
    if preprocessor is not None:
        recipe = {name: preprocessor.get(name) for name in ("mean", "std")}
        lines += _carry(record["data_preprocessor"], preprocessor, ("mean", "std"), "preprocessor")
        if cfg.get("resume"):  # a test has no use for the training's colours
            lines += carry_fill(cfg, recipe, preprocessor)
    return lines


def _carry(source: dict, target: MutableMapping, names: tuple[str, ...], part: str) -> list[str]:
    lines = []
    for name in names:
        if name in source and target.get(name) != source[name]:
            lines.append(f"{part}.{name}: {source[name]} as in the checkpoint")
            target[name] = source[name]
    return lines
