"""One call from a checkpoint of any family to a SemAIMViT with its weights."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from semaim_mm.errors import InputError
from semaim_mm.interop.backbone_checkpoint import Fitting, fill_backbone
from semaim_mm.interop.backbone_file import backbone_config, read_backbone
from semaim_mm.interop.conventions import FACTS

_READING = ("prefix", "grid", *FACTS)


def load_backbone(path: str | Path, new_keys: Sequence[str] = (), **overrides: Any):
    """A checkpoint of any known family -> the SemAIMViT that its weights make, loaded strictly.

    Sizes, pre-norm, LayerScale, registers, relative-position bias and patch size come from the
    weights; LayerNorm epsilon, activation and heads as conventions.py says. ``coverage.origin`` of
    the result holds them, with the mean and std that inputs want.

    Args:
        new_keys: weights that start fresh, e.g. 'ln2.*' with out_type='avg_featmap'.
        **overrides: facts that the caller knows better (norm_eps, activation, num_heads, mean, std
            of pixels in 0..255), ``prefix`` and ``grid`` as in ``read_backbone``, and any argument
            of SemAIMViT: img_size interpolates positions; another patch_size resamples the patch
            embedding and keeps the grid where img_size is not given.

    Raises:
        InputError: no known family, or something that can't be represented exactly, by name.
    """
    from mmpretrain.registry import MODELS

    told = {name: overrides.pop(name) for name in _READING if name in overrides}
    file = read_backbone(path, **told)
    config = backbone_config(file)
    size = overrides.get("patch_size", file.patch_size)
    if size != file.patch_size:
        config["img_size"] = tuple(side * size for side in file.grid)
    for name in ("norm_cfg", "layer_cfgs"):
        if name in overrides:
            fact = {"norm_cfg": "norm_eps", "layer_cfgs": "activation"}[name]
            raise InputError(f"load_backbone takes {fact}=... in place of {name}.")
    backbone = MODELS.build(dict(type="SemAIMViT", **config | overrides))
    backbone.init_weights()
    backbone.coverage = fill_backbone(
        backbone, file, new_keys, Fitting(resample_patch=size != file.patch_size)
    )
    # whoever initialises the weights again, e.g. a model around this one, gets these again
    backbone.init_cfg = dict(
        type="BackboneCheckpoint",
        checkpoint=str(path),
        new_keys=list(new_keys),
        resample_patch=size != file.patch_size,
        **told,
    )
    return backbone
