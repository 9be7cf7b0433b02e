"""What travels with a checkpoint's weights travels into the config of the run that takes them.

A recipe is written for one backbone; another checkpoint may want another mean and std, LayerNorm
epsilon, activation, patch size, a norm before the blocks, registers. The loader refuses a backbone
that lacks these; ``carry_into`` writes them into the config first, so that ``--cfg-options
model.backbone.init_cfg.checkpoint=...`` is all that changes, and the dumped config tells the truth.
"""

from collections.abc import MutableMapping
from typing import Any

from semaim_mm.errors import InputError
from semaim_mm.interop.backbone_file import BackboneFile, read_backbone, traits
from semaim_mm.interop.carry_fill import carry_fill
from semaim_mm.interop.conventions import FACTS
from semaim_mm.interop.init_cfg import KINDS, UNTRAINED

# what SemAIMViT does where a config says nothing
_DEFAULTS = dict(
    qkv_bias=True,
    pre_norm=False,
    layer_scale_init_value=0.0,
    num_registers=0,
    rel_pos_bias=False,
    frozen_pos_embed=False,
)


def carry_into(cfg: MutableMapping[str, Any]) -> list[str]:
    """Change a config in place as its backbone's checkpoint needs -> a line for every change.

    Patches of another size than the config's: a model of tokens takes the checkpoint's (a last
    patch that sticks out of an image is padded with zeros, the mean colour); a model of feature
    maps (``out_type='featmap'``), whose strides the recipe fixes, and an ``img_size`` that those
    patches do not tile keep the config's, and the patch embedding is resampled to it. Where
    ``windows.map_size`` is given, ``img_size`` becomes that of the checkpoint's position table, so
    that it is interpolated once, in the forward pass.

    Raises:
        InputError: as ``read_backbone``, or for a model that needs a CLS token the file lacks.
    """
    backbone = (cfg.get("model") or {}).get("backbone") or {}
    init = backbone.get("init_cfg") or {}
    if not isinstance(init, MutableMapping) or init.get("type") not in KINDS:
        return []
    if init.get("checkpoint") in (None, UNTRAINED):
        return []
    told = {name: init[name] for name in ("prefix", "grid", *FACTS) if init.get(name) is not None}
    file = read_backbone(init["checkpoint"], **told)
    reads_cls = _reads_cls(cfg["model"])
    lines = [*_carry_traits(file, backbone, reads_cls), *_carry_patches(file, backbone, init)]
    lines += _carry_grid(file, backbone)
    preprocessor = cfg["model"].get("data_preprocessor") or cfg.get("data_preprocessor")
    if preprocessor is not None:
        recipe = {name: preprocessor.get(name) for name in ("mean", "std")}
        for name in recipe:
            lines += _set(preprocessor, name, list(getattr(file.origin, name)), "data_preprocessor")
        lines += carry_fill(cfg, recipe, preprocessor)
    return lines


def _reads_cls(model: MutableMapping[str, Any]) -> bool:
    """Whether a model's features come from the CLS token."""
    if model.get("type") == "FeatureModel":
        return any(pooling in ("cls", "both") for pooling in model.get("poolings", ()))
    return model["backbone"].get("out_type", "cls_token") == "cls_token"


def _carry_traits(
    file: BackboneFile, backbone: MutableMapping[str, Any], reads_cls: bool
) -> list[str]:
    wanted = traits(file)
    lines = []
    eps = (backbone.get("norm_cfg") or {}).get("eps", 1e-6)
    if eps != file.origin.norm_eps:
        lines += _set(backbone, "norm_cfg", wanted["norm_cfg"])
    act = wanted["layer_cfgs"]["act_cfg"]
    layers = backbone.get("layer_cfgs") or {}
    if isinstance(layers, MutableMapping) and layers.get("act_cfg", dict(type="GELU")) != act:
        lines += _set(backbone, "layer_cfgs", {**layers, "act_cfg": act})
    if backbone.get("windows"):
        wanted["num_registers"] = 0  # left out: windows attend to patches only
    for name, default in _DEFAULTS.items():
        # what the file has none of may be meant to start fresh (new_keys): then the config stands
        if wanted[name] != default and backbone.get(name, default) != wanted[name]:
            lines += _set(backbone, name, wanted[name])
    bias = wanted["patch_cfg"]["bias"]
    patch = backbone.get("patch_cfg") or {}
    if patch.get("bias", not backbone.get("pre_norm", False)) != bias:
        lines += _set(backbone, "patch_cfg", {**patch, "bias": bias})
    if "ln1.weight" not in file.state and backbone.get("final_norm", True):
        lines += _set(backbone, "final_norm", False)
    if "cls_token" not in file.state and backbone.get("with_cls_token", True):
        if reads_cls:
            raise InputError(
                f"{file.path} ({file.origin.family}) has no CLS token, which this config reads "
                "(out_type='cls_token'); choose a config that pools patches."
            )
        lines += _set(backbone, "with_cls_token", False)
        if backbone.get("out_type", "cls_token") == "cls_token":
            lines += _set(backbone, "out_type", "raw")
    return lines


def _carry_patches(
    file: BackboneFile, backbone: MutableMapping[str, Any], init: MutableMapping[str, Any]
) -> list[str]:
    own, size = backbone.get("patch_size", 16), backbone.get("img_size", 224)
    if own == file.patch_size or init.get("resample_patch"):
        return []
    sides = [size] if isinstance(size, int) else size
    tiled = all(side % file.patch_size == 0 for side in sides)
    if tiled and backbone.get("out_type") != "featmap":
        return _set(backbone, "patch_size", file.patch_size)
    return _set(init, "resample_patch", True, "model.backbone.init_cfg")


def _carry_grid(file: BackboneFile, backbone: MutableMapping[str, Any]) -> list[str]:
    """Positions that only the forward pass fits (ViTDet) are kept on the checkpoint's own grid."""
    # with map_size no other weight is as large as img_size says; twice interpolated loses detail
    if not (backbone.get("windows") or {}).get("map_size"):
        return []
    rows, columns = (side * backbone.get("patch_size", 16) for side in file.grid)
    return _set(backbone, "img_size", rows if rows == columns else [rows, columns])


def _set(target: MutableMapping, name: str, value: Any, where: str = "model.backbone") -> list[str]:
    if target.get(name) == value:
        return []
    old = target.get(name, "unset")
    target[name] = value
    return [f"{where}.{name}: {old} -> {value}, as the checkpoint was trained"]
