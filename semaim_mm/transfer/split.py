"""Class-balanced parts of a training set by seed: what is held out, what a share keeps."""

import torch
from torch import Tensor

from semaim_mm.errors import InputError


def holdout_split(labels: Tensor, fraction: float, seed: int) -> tuple[Tensor, Tensor]:
    """(N,) labels -> indices of (fit, held out), class-balanced, by seed.

    Raises InputError where a class has no image left to fit on.
    """
    check_holdout(labels, fraction)
    generator = torch.Generator().manual_seed(seed)
    fit, held = [], []
    for index in _shuffled_classes(labels, generator):
        cut = _held_out(len(index), fraction)
        held.append(index[:cut])
        fit.append(index[cut:])
    return torch.cat(fit), torch.cat(held)


def balanced_share(labels: Tensor, fraction: float, seed: int) -> Tensor:
    """(N,) labels -> sorted indices of a share; at least two a class, where it has two."""
    generator = torch.Generator().manual_seed(seed)
    parts = [
        index[: max(2, round(len(index) * fraction))]
        for index in _shuffled_classes(labels, generator)
    ]
    return torch.cat(parts).sort().values


def check_holdout(labels: Tensor, fraction: float) -> None:
    """Raise InputError where holding ``fraction`` out leaves a class no image to fit on."""
    classes, counts = labels.unique(return_counts=True)
    poor = [
        (label, count)
        for label, count in zip(classes.tolist(), counts.tolist(), strict=True)
        if _held_out(count, fraction) >= count
    ]
    if poor or not len(classes):
        named = ", ".join(f"class {label}: {count}" for label, count in poor[:5])
        raise InputError(
            f"{len(poor)} of {len(classes)} classes of the training set have too few images to "
            f"hold {fraction:g} of them out ({named or 'it is empty'}"
            f"{', ...' if len(poor) > 5 else ''}); give each class two images or more, lower "
            "holdout, or leave such classes out."
        )


def _held_out(count: int, fraction: float) -> int:
    return max(1, round(count * fraction))


def _shuffled_classes(labels: Tensor, generator: torch.Generator) -> list[Tensor]:
    """-> the indices of each class in turn, shuffled."""
    by_class = labels.argsort(stable=True).split(labels.unique(return_counts=True)[1].tolist())
    return [index[torch.randperm(len(index), generator=generator)] for index in by_class]
