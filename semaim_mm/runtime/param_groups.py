"""Parameter groups of the optimiser: few and large, fused where the device can, checked on resume.

A fused or foreach optimiser runs its kernels once a group; one group a weight, as mmengine makes
them, wastes both.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from mmengine.optim import DefaultOptimWrapperConstructor, OptimWrapper
from mmengine.registry import OPTIM_WRAPPER_CONSTRUCTORS
from torch import Tensor, nn

from semaim_mm.errors import InputError

FUSED = ("Adam", "AdamW")
KERNELS = ("fused", "foreach", "capturable")  # keys of a group that say how, not what
# mmengine keeps them beside the lr and weight decay that it made with them
MULTIPLIERS = ("lr_mult", "decay_mult")


class FusedOptimizer:
    """Mixin of an optimiser constructor: ``fused=True`` unless the config says otherwise."""

    def __call__(self, model: nn.Module) -> OptimWrapper:
        self.optimizer_cfg = fused_where_possible(self.optimizer_cfg, model.parameters())
        return super().__call__(model)


def fused_where_possible(optimizer: Mapping[str, Any], parameters: Iterable[nn.Parameter]) -> dict:
    """-> the optimiser's config, with ``fused=True`` where all that trains lies on CUDA.

    Only for Adam and AdamW, and never over a ``fused`` or ``foreach`` that the config sets.
    """
    optimizer = dict(optimizer)
    stated = optimizer.get("fused") is not None or optimizer.get("foreach") is not None
    if stated or optimizer["type"] not in FUSED:
        return optimizer
    trained = [parameter for parameter in parameters if parameter.requires_grad]
    if trained and all(p.device.type == "cuda" and p.is_floating_point() for p in trained):
        optimizer["fused"] = True
    return optimizer


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class GroupedConstructor(FusedOptimizer, DefaultOptimWrapperConstructor):
    """mmengine's default constructor, with one group for all parameters of equal settings.

    Groups and the parameters in them keep the model's order, their names stand under
    ``param_names``; one that has several names is taken once, by the first.
    """

    def add_params(
        self,
        params: list[dict],
        module: nn.Module,
        prefix: str = "",
        is_dcn_module: int | float | None = None,
    ) -> None:
        """Append ``module``'s parameter groups to ``params``; merged at the root (no prefix)."""
        if prefix:
            super().add_params(params, module, prefix, is_dcn_module)
            return
        singles = []
        super().add_params(singles, module, "", is_dcn_module)
        names = {id(parameter): name for name, parameter in module.named_parameters()}
        defaults = dict(lr=self.base_lr, weight_decay=self.base_wd)
        defaults = {key: value for key, value in defaults.items() if value is not None}
        left_out = ("params", *MULTIPLIERS)
        params.extend(
            merge_groups(
                singles,
                lambda single: defaults | {k: v for k, v in single.items() if k not in left_out},
                lambda single: names[id(single["params"][0])],
            )
        )


def merge_groups(
    singles: Iterable[dict],
    settings_of: Callable[[dict], dict[str, Any]],
    name_of: Callable[[dict], str],
) -> list[dict]:
    """One group a parameter -> one group for all of equal settings, their names beside them.

    Groups and the parameters in them keep the order in which they are first met; a parameter that
    has several names is taken once.
    """
    merged, seen = {}, set()
    for single in singles:
        (parameter,) = single["params"]
        if id(parameter) in seen:
            continue
        seen.add(id(parameter))
        settings = settings_of(single)
        # text, for a setting such as betas may be a list
        key = repr(sorted(settings.items()))
        group = merged.setdefault(key, dict(params=[], param_names=[], **settings))
        group["params"].append(parameter)
        group["param_names"].append(name_of(single))
    return list(merged.values())


def check_groups(
    checkpoint: Mapping[str, Any], optimizer: torch.optim.Optimizer, path: str
) -> None:
    """Raise InputError where a checkpoint's optimiser has other parameter groups than this one.

    Its states are numbered by group, so that other groups would give weights each other's.
    """
    saved = (checkpoint.get("optimizer") or {}).get("param_groups")
    if saved is None:
        return
    now = optimizer.param_groups
    sizes, ours = ([len(group["params"]) for group in groups] for groups in (saved, now))
    names = [(a.get("param_names"), b.get("param_names")) for a, b in zip(saved, now, strict=False)]
    if sizes == ours and all(a == b for a, b in names if a is not None and b is not None):
        _check_moments(checkpoint["optimizer"], optimizer, path)
        return
    raise InputError(
        f"The optimiser in {path} has {len(sizes)} parameter group(s) of {sum(sizes)} weights, and "
        f"this run {len(ours)} of {sum(ours)} that don't match: it was saved with another config, "
        "or before weights of equal settings shared a group. Its moments can't be told apart, so "
        "start anew in another --work-dir, from its weights with load_from and without --resume."
    )


def keep_own_kernels(checkpoint: Mapping[str, Any], optimizer: torch.optim.Optimizer) -> None:
    """Write this run's choice of kernels into a checkpoint's parameter groups, in place.

    torch would take the checkpoint's: a run begun on a CPU would go on unfused on a GPU, and every
    update would wait for the host. Called before the state is loaded, for a fused optimiser wants
    its step counts on the device.
    """
    saved = (checkpoint.get("optimizer") or {}).get("param_groups") or ()
    for old, now in zip(saved, optimizer.param_groups, strict=False):
        old.update({name: now[name] for name in KERNELS if name in now})


def _check_moments(saved: Mapping[str, Any], optimizer: torch.optim.Optimizer, path: str) -> None:
    """Every moment has its weight's shape, or is one number; torch asks in the first step only."""
    weights = [weight for group in optimizer.param_groups for weight in group["params"]]
    numbers = [number for group in saved["param_groups"] for number in group["params"]]
    for number, weight in zip(numbers, weights, strict=True):
        for name, value in saved["state"].get(number, {}).items():
            shape = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
            if (
                value is None
                or isinstance(value, int | float)
                or shape in ((), tuple(weight.shape))
            ):
                continue
            raise InputError(
                f"The optimiser in {path} has {name} of shape {shape} for weight {number}, whose "
                f"shape is {tuple(weight.shape)}: it is damaged, or of another model. Resume from "
                "another checkpoint, or start from its weights with load_from."
            )
