"""Whether a config has a place for an override's key; one without merges, and nothing reads it."""

import inspect
from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any

from mmengine.optim import OptimWrapper
from mmengine.runner import (
    EpochBasedTrainLoop,
    IterBasedTrainLoop,
    Runner,
    TestLoop,
    ValLoop,
    set_random_seed,
)
from torch.utils.data import DataLoader

from semaim_mm.runtime.model_keys import KEYS

# parts without a type whose arguments are another library's, and parts of any content
ARGUMENTS = {
    "train_cfg": (EpochBasedTrainLoop, IterBasedTrainLoop),
    "val_cfg": (ValLoop,),
    "test_cfg": (TestLoop,),
    "train_dataloader": (DataLoader,),
    "val_dataloader": (DataLoader,),
    "test_dataloader": (DataLoader,),
    "optim_wrapper": (OptimWrapper,),
    "randomness": (set_random_seed,),
}
OPEN = ("env_cfg", "model_wrapper_cfg", "data_preprocessor", "paramwise_cfg", "default_hooks")
# at the top of a config, beside mmengine's and model_keys': what else the runner and tools read
READ = ("tta_model", "augmented_test", "find_unused_parameters", "tensorboard", "selection")
READ += ("model_wrapper_cfg", "tuned")


def without_place(cfg: Mapping[str, Any], keys: Iterable[str]) -> list[str]:
    """A config and dotted keys -> those that nothing in it would take.

    A key has a place that the config states, one in a part with a ``type`` (an argument of it, for
    that class to judge), or one that mmengine or this package's runner reads.
    """
    return [key for key in keys if not _has_place(cfg, key)]


def _has_place(cfg: Mapping[str, Any], key: str) -> bool:
    first, *rest = key.split(".")
    if first not in cfg:
        return first in _top()
    part, above, typed = cfg[first], first, False
    for name in rest:
        typed = typed or (isinstance(part, Mapping) and "type" in part)
        if isinstance(part, list | tuple):
            if not name.isdigit() or int(name) >= len(part):
                return False
            part = part[int(name)]
            continue
        if part is None:
            return True  # a part that is left out, here described after all
        if not isinstance(part, Mapping):
            return False
        if name not in part:
            taken = typed or name == "_delete_" or above in OPEN
            return taken or (above == first and name in _arguments(first, part.get("by_epoch")))
        part, above = part[name], name
    return True


@cache
def _top() -> frozenset[str]:
    return frozenset({*_parameters(Runner), *KEYS, *READ})


@cache
def _arguments(part: str, by_epoch: bool | None) -> frozenset[str]:
    kinds = ARGUMENTS.get(part, ())
    if part == "train_cfg" and by_epoch is not None:
        kinds = kinds[:1] if by_epoch else kinds[1:]
    own = {"constructor", "paramwise_cfg"} if part == "optim_wrapper" else set()
    return frozenset(own.union(*map(_parameters, kinds)))


def _parameters(kind: Any) -> set[str]:
    return set(inspect.signature(kind).parameters)
