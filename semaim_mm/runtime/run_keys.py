"""What a config says beside its model: loaders, pipelines, loops, optimiser, schedules and hooks.

Checked before anything is built, for mmengine builds most of it late: a hook's interval is first
looked at when an epoch is over.
"""

import logging
import math
from collections.abc import Callable, Iterator, Mapping
from numbers import Real
from typing import Any

from mmengine import registry as registries
from mmengine.registry import Registry
from torch.utils.data import DataLoader

from semaim_mm.errors import InputError
from semaim_mm.runtime.arguments import NOT_THEIRS, arguments_of, check_arguments, fits, told
from semaim_mm.runtime.label_zero import check_label_zero
from semaim_mm.transfer.protocol import PROTOCOLS

LOADERS = ("train_dataloader", "val_dataloader", "test_dataloader")
# in a protocol's loop: the pictures that features are compared with, a mean is taken over
OTHER_LOADERS = ("bank_dataloader", "mean_dataloader")
LOADER = dict(
    batch_size=int,
    num_workers=int,
    timeout=float,
    prefetch_factor=int | None,
    persistent_workers=bool,
    pin_memory=bool,
    drop_last=bool,
    dataset=Mapping,
    sampler=Mapping | None,
    batch_sampler=Mapping | None,
    collate_fn=Mapping | Callable | None,
    num_batch_per_epoch=int | None,
)
LOOP = dict(
    max_epochs=int,
    max_iters=int,
    val_interval=int,
    val_begin=int,
    by_epoch=bool,
)
ENVIRONMENT = dict(cudnn_benchmark=bool, mp_cfg=Mapping, dist_cfg=Mapping)
RANDOMNESS = dict(seed=int | None, diff_rank_seed=bool, deterministic=bool)
LEAST = dict(batch_size=1, num_workers=0, timeout=0, prefetch_factor=1)
LEAST |= dict(max_epochs=1, max_iters=1, val_interval=1, val_begin=0)
LEAST |= dict(seed=0, lr=0, weight_decay=0, window_size=1)


def check_run(cfg: Mapping[str, Any]) -> None:
    """Raise InputError, the key named, for a value beside the model that no run can have."""
    scope = cfg.get("default_scope")
    for name in LOADERS:
        _check_loader(cfg.get(name), name, scope)
    for name in ("train_cfg", "val_cfg", "test_cfg"):
        _check_loop(cfg.get(name), name, scope)
    check_label_zero(cfg)
    _check_table(cfg.get("randomness"), "randomness", RANDOMNESS, ())
    _check_optimizer(cfg, scope)
    for name in ("val_evaluator", "test_evaluator"):
        for place, metric in _items(cfg.get(name), name):
            if not isinstance(metric, Mapping) or "type" in metric:
                _check_part(_kinds_of_metric(metric), metric, place, scope)
    for place, one in _items(cfg.get("param_scheduler"), "param_scheduler"):
        _check_part(registries.PARAM_SCHEDULERS, _whole(one, place), place, scope)
    for name, kinds in (("default_hooks", Mapping), ("custom_hooks", list | tuple)):
        hooks = cfg.get(name)
        _check_value(hooks, kinds | None, name, name)
        for place, hook in _items(hooks, name):
            _check_part(registries.HOOKS, hook, place, scope)
    processor = _typed(cfg.get("log_processor"), "LogProcessor", "log_processor")
    _check_part(registries.LOG_PROCESSORS, processor, "log_processor", scope)
    # mmengine's annotation of vis_backends is that of another argument
    shown = ("vis_backends",)
    _check_part(registries.VISUALIZERS, cfg.get("visualizer"), "visualizer", scope, None, shown)
    _check_table(cfg.get("env_cfg"), "env_cfg", ENVIRONMENT, ("resource_limit",))
    level = cfg.get("log_level", "INFO")
    if not isinstance(level, int) and level not in list(logging.getLevelNamesMapping()):
        raise InputError(f"log_level={level!r} is no level, such as 'INFO'; mend it.")


def _check_loader(loader: Any, where: str, scope: str | None) -> None:
    if loader is None:
        return
    known = [name for name in arguments_of(DataLoader)[0] if name != "dataset"]
    _check_table(loader, where, LOADER, known)
    for needed in ("dataset", "batch_size"):
        if needed not in loader and not (needed == "batch_size" and "batch_sampler" in loader):
            raise InputError(f"{where} has no {needed}; give it one.")
    for key in ("sampler", "batch_sampler"):
        _check_part(registries.DATA_SAMPLERS, loader.get(key), f"{where}.{key}", scope)
    _check_dataset(loader["dataset"], f"{where}.dataset", scope)


def _check_dataset(dataset: Any, where: str, scope: str | None) -> None:
    _check_part(registries.DATASETS, dataset, where, scope)
    inner = dataset.get("dataset")
    if isinstance(inner, Mapping):
        _check_dataset(inner, f"{where}.dataset", scope)
    _check_pipeline(dataset.get("pipeline"), f"{where}.pipeline", scope)


def _check_pipeline(steps: Any, where: str, scope: str | None) -> None:
    """A list of steps, each of which may hold others, as RandomApply and test-time views do."""
    if steps is None:
        return
    if not isinstance(steps, list | tuple):
        raise InputError(f"{where}={steps!r} is no list of steps; mend the config.")
    for number, step in enumerate(steps):
        place = f"{where}.{number}"
        if isinstance(step, list | tuple):
            _check_pipeline(step, place, scope)
        elif isinstance(step, Mapping):
            _check_part(registries.TRANSFORMS, step, place, scope)
            for key in ("transforms", "policies"):
                if isinstance(step.get(key), list | tuple):
                    _check_pipeline(step[key], f"{place}.{key}", scope)
        elif not callable(step):
            raise InputError(f"{place}={step!r} is no step of a pipeline: a dict with a type.")


def _check_loop(loop: Any, where: str, scope: str | None) -> None:
    if loop is None:
        return
    if not isinstance(loop, Mapping):
        raise InputError(f"{where}={loop!r} is not a dict; mend the config.")
    for key in OTHER_LOADERS:
        _check_loader(loop.get(key), f"{where}.{key}", scope)
    for key, value in loop.items():
        _check_value(value, LOOP.get(key, Any), key, f"{where}.{key}")
    if "type" in loop:
        _check_part(registries.LOOPS, loop, where, scope)
    elif where == "train_cfg":
        unknown = sorted(set(loop) - {*LOOP, "dynamic_intervals"})
        if unknown:
            raise InputError(f"{where} takes no {unknown[0]!r}; it takes {', '.join(LOOP)}.")


def _check_optimizer(cfg: Mapping[str, Any], scope: str | None) -> None:
    wrapper = cfg.get("optim_wrapper")
    if wrapper is None:
        return
    place = "optim_wrapper"
    taken = ("constructor", "paramwise_cfg", "optimizer")
    wrapper = _typed(wrapper, "OptimWrapper", place)
    _check_part(registries.OPTIM_WRAPPERS, wrapper, place, scope, None, taken)
    _check_part(
        registries.OPTIMIZERS, wrapper.get("optimizer"), f"{place}.optimizer", scope, _moments
    )
    for key in ("paramwise_cfg", "clip_grad"):
        _check_value(wrapper.get(key), Mapping | None, key, f"{place}.{key}")
    if "lr" in (wrapper.get("optimizer") or {}) and cfg.get("base_lr") is not None:
        raise InputError(
            f"{place}.optimizer.lr={wrapper['optimizer']['lr']!r} would count for nothing beside "
            f"base_lr={cfg['base_lr']!r}, which is the rate for 256 images; set base_lr, or set "
            "it to None to give the rate as it is."
        )


def _check_part(
    registry: Registry,
    part: Any,
    where: str,
    scope: str | None,
    more: Callable[[Mapping, str], None] | None = None,
    not_theirs: tuple[str, ...] = (),
) -> None:
    """Find the class that a dict names, and compare its arguments; None is no part."""
    if part is None:
        return
    if not isinstance(part, Mapping) or "type" not in part:
        raise InputError(f"{where}={part!r} is not a dict with a type; mend the config.")
    kind = part["type"]
    if isinstance(kind, str):
        with registry.switch_scope_and_registry(scope) as here:
            kind = here.get(kind)
    if not callable(kind):
        raise InputError(
            f"{where}.type={part['type']!r} is not known as a {registry.name}; mend the name, put "
            "its library in front ('mmdet.X'), or import in custom_imports what registers it."
        )
    check_arguments(kind, part, where, (*NOT_THEIRS, *not_theirs))
    for key, value in part.items():
        _check_least(value, key, f"{where}.{key}")
    if more is not None:
        more(part, where)


def _check_table(part: Any, where: str, kinds: Mapping[str, Any], others: list | tuple) -> None:
    """A dict of these keys, each of its kind, and of ``others`` of any."""
    if part is None:
        return
    if not isinstance(part, Mapping):
        raise InputError(f"{where}={part!r} is not a dict; mend the config.")
    for key, value in part.items():
        if key not in kinds and key not in others:
            raise InputError(f"{where} takes no {key!r}; it takes {', '.join(kinds)}.")
        _check_value(value, kinds.get(key, Any), key, f"{where}.{key}")


def _check_value(value: Any, hint: Any, key: str, place: str) -> None:
    if not fits(value, hint):
        raise InputError(f"{place}={value!r} is not {told(hint)}; mend the config.")
    _check_least(value, key, place)


def _check_least(value: Any, key: str, place: str) -> None:
    if key in LEAST and isinstance(value, Real) and not value >= LEAST[key]:
        raise InputError(f"{place}={value!r} has to be {LEAST[key]} or more; mend the config.")


def _moments(optimizer: Mapping[str, Any], where: str) -> None:
    betas = optimizer.get("betas")
    if betas is not None and (len(betas) != 2 or not all(0 <= beta < 1 for beta in betas)):
        raise InputError(f"{where}.betas={betas!r} has to be two numbers in [0, 1).")


def _kinds_of_metric(metric: Any) -> Registry:
    name = metric["type"] if isinstance(metric, Mapping) else None
    protocol = isinstance(name, str) and name in PROTOCOLS.module_dict
    return PROTOCOLS if protocol else registries.METRICS


def _typed(part: Any, default: str, where: str) -> dict[str, Any]:
    """-> a part with the type that mmengine gives it where it states none."""
    _check_value(part, Mapping | None, "", where)
    return {"type": default, **(part or {})}


def _whole(scheduler: Any, where: str) -> Any:
    """A schedule with its fractions of an epoch rounded up, as its class's annotations have it."""
    if not isinstance(scheduler, Mapping):
        return scheduler
    counts = {key: scheduler[key] for key in ("begin", "end", "T_max") if key in scheduler}
    for key, value in counts.items():
        _check_value(value, float | None, key, f"{where}.{key}")
    return {**scheduler, **{k: v if v is None else math.ceil(v) for k, v in counts.items()}}


def _items(parts: Any, where: str) -> Iterator[tuple[str, Any]]:
    """-> (place, part) of a dict with a type, a dict of parts, or a list of them."""
    if isinstance(parts, Mapping) and "type" not in parts:
        yield from ((f"{where}.{name}", one) for name, one in parts.items() if one is not None)
    elif isinstance(parts, list | tuple):
        yield from ((f"{where}.{number}", one) for number, one in enumerate(parts))
    elif parts is not None:
        yield where, parts
