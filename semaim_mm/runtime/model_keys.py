"""The model of a config and the runner's own keys, checked by type and range before it is built.

Parts of other libraries are theirs to judge. What a class refuses by itself, with more to say, is
left to it.
"""

from collections.abc import Iterator, Mapping, Sequence
from numbers import Real
from os import PathLike
from typing import Any

from mmpretrain.registry import MODELS

from semaim_mm.errors import InputError
from semaim_mm.pretrain.order import ORDERS
from semaim_mm.runtime.arguments import check_arguments, fits, told
from semaim_mm.windows import Windows

POSITIVE = ("embed_dims", "num_heads", "num_layers", "feedforward_channels", "depth", "patch_size")
POSITIVE += ("img_size", "out_dims", "query_depth", "mlp_ratio", "blur_sigma", "stride")
# what sizes an ``arch`` dict has
ARCH = ("embed_dims", "num_layers", "num_heads", "feedforward_channels")
PARTS_OF_SEMAIM = {
    "backbone": ("SemAIMViT",),
    "neck": ("SemAIMDecoder",),
    "head": ("SemAIMHead", "MultiHead"),
    "target_generator": ("Module",),  # any with out_dims
}
# the runner's own keys; what is more than a kind is checked where it is used
KEYS = dict(
    total_batch=int | None,
    base_lr=float | None,
    accumulate=bool,
    classes=str | Sequence[str] | None,
    num_classes=int | None,
    holdout=float | None,
    unreadable_budget=int | None,
    bad_annotations=str | None,
    tolerated_annotations=Sequence[str] | None,
    precision=str | None,
    pretraining_data=str | None,
    tensorboard=bool,
    data_root=str | PathLike | None,
    test_set=str | None,
    work_dir=str | PathLike,
    load_from=str | PathLike | None,
    resume=bool,
    default_scope=str | None,
)


def check_keys(cfg: Mapping[str, Any]) -> None:
    """Raise InputError for a key of the runner's, at the top of a config, of another kind."""
    for key, hint in KEYS.items():
        if key in cfg and not fits(cfg[key], hint):
            raise InputError(f"{key}={cfg[key]!r} is not {told(hint)}; mend the config.")
    check_model(cfg.get("model"))


def check_model(model: Any, where: str = "model") -> None:
    """Raise InputError, the key named, for a value of a kind or range that no model can have."""
    if not isinstance(model, Mapping):
        raise InputError(f"{where}={model!r} is not a dict with a type; mend the config.")
    kind = _class_of(model, where)
    if kind is not None and kind.__module__.split(".")[0] == "semaim_mm":
        check_arguments(kind, model, where)
        _check_ranges(model, where)
        if kind.__name__ == "SemAIM":
            for key, names in PARTS_OF_SEMAIM.items():
                _check_part(key, names, model.get(key), where)
    parts = _parts()
    for key, value in model.items():
        place = f"{where}.{key}"
        if key == "arch" and isinstance(value, Mapping):
            _check_arch(value, place)
        elif key in parts and isinstance(value, Mapping):
            check_arguments(parts[key], value, place, not_theirs=())
            _check_ranges(value, place)
        elif isinstance(value, Mapping) and (key == "order" or "type" in value):
            check_model(value, place)
        elif isinstance(value, list | tuple):
            for number, item in enumerate(value):
                if isinstance(item, Mapping) and "type" in item:
                    check_model(item, f"{place}.{number}")


def _check_part(key: str, names: tuple[str, ...], part: Any, where: str) -> None:
    """Refuse a part of SemAIM that is none of these classes, nor derives from one."""
    kind = _class_of(part, f"{where}.{key}") if isinstance(part, Mapping) else None
    lineage = () if kind is None else [base.__name__ for base in kind.__mro__]
    if not any(name in lineage for name in names):
        given = part.get("type") if isinstance(part, Mapping) else part
        raise InputError(
            f"{where}.{key} has the type {given!r}, and SemAIM takes a dict of type "
            f"{' or '.join(names)} there; mend the config, or import in custom_imports what "
            "registers a class of your own in mmpretrain's MODELS."
        )


def _parts() -> dict[str, type]:
    """-> keys that hold a dict of one class's arguments."""
    from semaim_mm.pretrain.ema import BackboneEMA  # it imports this package

    return {"ema": BackboneEMA, "windows": Windows}


def _class_of(model: Mapping[str, Any], where: str) -> type | None:
    """-> the class that ``type`` names, None where no registry here knows it."""
    kind = model.get("type")
    if isinstance(kind, str):
        # not by the registries' get, which imports what it does not know
        name = kind.removeprefix("mmpretrain.")
        return MODELS.module_dict.get(name) or ORDERS.module_dict.get(name)
    if kind is not None and not isinstance(kind, type):
        raise InputError(f"{where}.type={kind!r} is not the name of a class; mend the config.")
    if kind is None:
        raise InputError(f"{where} names no type; give it one.")
    return kind


def _check_ranges(given: Mapping[str, Any], where: str) -> None:
    for key, value in given.items():
        _check_range(key, value, f"{where}.{key}")


def _check_range(key: str, value: Any, place: str) -> None:
    numbers = list(_numbers(value))
    if key in POSITIVE and any(number <= 0 for number in numbers):
        raise InputError(f"{place}={value!r} has to be positive; mend the config.")
    if key == "num_registers" and any(number < 0 for number in numbers):
        raise InputError(f"{place}={value!r} can't be negative; mend the config.")
    if key.endswith("_rate") and any(not 0 <= number < 1 for number in numbers):
        raise InputError(f"{place}={value!r} has to lie in [0, 1); mend the config.")
    if key == "img_size" and isinstance(value, list | tuple) and len(value) != 2:
        raise InputError(f"{place}={value!r} has to be one side, or height and width.")


def _check_arch(arch: Mapping[str, Any], place: str) -> None:
    for key in ARCH:
        value = arch.get(key)
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise InputError(
                f"{place}.{key}={value!r} has to be a whole number of 1 or more; an arch is a name "
                f"or a dict with {', '.join(ARCH)}."
            )


def _numbers(value: Any) -> Iterator[Real]:
    values = value if isinstance(value, list | tuple) else [value]
    return (one for one in values if isinstance(one, Real))
