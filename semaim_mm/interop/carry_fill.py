"""Colours of a training pipeline that stand for the mean: they follow it to another checkpoint.

RandomErasing draws pixels that are noise of mean 0 and deviation 1 once normalised, RandAugment
fills what it moves out of the picture with the mean; both act before normalisation, on pixels.
"""

from collections.abc import Iterator, Mapping, MutableMapping, Sequence
from typing import Any

# where a transform's colour stands, and what of the preprocessor it may stand for
_COLOURS = {
    "RandomErasing": (((), "fill_color", "mean"), ((), "fill_std", "std")),
    "RandAugment": ((("hparams",), "pad_val", "mean"),),
}


def carry_fill(
    cfg: MutableMapping[str, Any], old: Mapping[str, Any], new: Mapping[str, Any]
) -> list[str]:
    """Change a config's training pipeline in place -> a line for every change.

    Args:
        old: ``mean`` and ``std`` of the recipe's preprocessor, pixels in 0..255, in its own order.
        new: the preprocessor as it is now. Where it swaps channels, the pipeline's are BGR.

    A colour that is neither the old value nor that rounded was meant as it is, and stays.
    """
    swapped = bool(new.get("to_rgb") or new.get("bgr_to_rgb"))
    lines = []
    for step in _pipeline(cfg):
        for path, key, meaning in _COLOURS.get(step.get("type"), ()):
            holder = step
            for name in path:
                holder = holder.get(name) or {}
            before, after = (_in_order(values.get(meaning), swapped) for values in (old, new))
            value = _follow(holder.get(key), before, after)
            if value is not None:
                lines.append(
                    f"{step['type']}.{key}: {holder[key]} -> {value}, the checkpoint's {meaning}"
                )
                holder[key] = value
    return lines


def _pipeline(cfg: Mapping[str, Any]) -> Iterator[MutableMapping[str, Any]]:
    dataset = (cfg.get("train_dataloader") or {}).get("dataset") or {}
    while "dataset" in dataset:
        dataset = dataset["dataset"]
    yield from dataset.get("pipeline") or ()


def _in_order(values: Sequence[float] | None, swapped: bool) -> list[float] | None:
    if values is None:
        return None
    return list(reversed(values)) if swapped else list(values)


def _follow(value: Any, old: list | None, new: list | None) -> list | None:
    """-> what a colour becomes; None where it does not stand for ``old``, or nothing changes."""
    if old is None or new is None or old == new or not isinstance(value, Sequence):
        return None
    if list(value) == old:
        return new
    rounded = [round(number) for number in new]
    if list(value) == [round(number) for number in old] and rounded != list(value):
        return rounded
    return None
