"""Optimisers for the layer-decay tests, and what they hold for every parameter."""

from __future__ import annotations

from mmengine.optim import OptimWrapper, build_optim_wrapper
from torch import nn

import semaim_mm.transfer.layer_decay  # noqa: F401  (registration)

LR, DECAY = 1e-4, 0.1
MMPRETRAINS = "mmpretrain.LearningRateDecayOptimWrapperConstructor"
FLAT = dict(norm_decay_mult=0.0, bias_decay_mult=0.0, flat_decay_mult=0.0)
TOKENS = {".cls_token": dict(decay_mult=0.0), ".pos_embed": dict(decay_mult=0.0)}


def wrap(model: nn.Module, paramwise: dict | None, constructor="LayerDecayConstructor", **changes):
    optimizer = dict(type="AdamW", lr=LR, weight_decay=DECAY, betas=(0.9, 0.999)) | changes
    cfg = dict(type="OptimWrapper", optimizer=optimizer, constructor=constructor)
    return build_optim_wrapper(model, cfg | dict(paramwise_cfg=paramwise))


def settings(model: nn.Module, wrapper: OptimWrapper) -> dict[str, tuple[float, float]]:
    """-> {name: (learning rate, weight decay)}, names found by identity in the model itself."""
    name_of = {id(p): name for name, p in model.named_parameters()}
    found = {}
    for group in wrapper.optimizer.param_groups:
        names = [name_of[id(p)] for p in group["params"]]
        if "param_names" in group:
            assert group["param_names"] == names
            assert group["lr"] == LR * group["lr_scale"]
        assert not found.keys() & names
        found |= dict.fromkeys(names, (group["lr"], group["weight_decay"]))
    return found
