"""What every target generator shares: its result, and what it may know of the student.

A generator is a module with ``out_dims``, ``patch_size`` and ``forward(imgs) -> Target``, in
mmpretrain's MODELS. Two optional attributes: ``gives_tokens``, and ``reads``, which names the
model's own backbone whose tokens it wants: then ``forward(imgs, model)``.
Legend: B images, L patches in raster order, P target width, D the teacher's token width.
"""

from functools import lru_cache
from typing import Any, NamedTuple

import torch
from mmpretrain.registry import MODELS
from torch import Tensor, nn

from semaim_mm.errors import InputError


class Target(NamedTuple):
    """``values`` (B, L, P) to predict; ``tokens`` (B, 1 + L, D) of the teacher, CLS first.

    The tokens may also give the similarity map.
    """

    values: Tensor
    tokens: Tensor | None = None


class PixelScale(NamedTuple):
    """Mean and standard deviation, of pixels in 0..255, RGB, that images were normalised with."""

    mean: tuple[float, ...]
    std: tuple[float, ...]

    @classmethod
    def of(cls, preprocessor: dict | nn.Module | None) -> "PixelScale":
        """A data preprocessor or its config -> its scale; 0 and 1 where it does not normalise."""
        if isinstance(preprocessor, nn.Module):
            scale = [getattr(preprocessor, name, None) for name in cls._fields]
            mean, std = (None if x is None else x.flatten().tolist() for x in scale)
        else:
            mean, std = ((preprocessor or {}).get(name) for name in cls._fields)
        return cls(tuple(mean or (0.0,) * 3), tuple(std or (1.0,) * 3))

    def convert(self, imgs: Tensor, to: "PixelScale") -> Tensor:
        """(B, 3, H, W) of this scale -> of another; the same tensor where both are equal."""
        if self == to:
            return imgs
        factor, shift = _conversion(self, to, imgs.device, imgs.dtype)
        return imgs * factor + shift


@lru_cache
def _conversion(
    old: PixelScale, new: PixelScale, device: torch.device, dtype: torch.dtype
) -> tuple[Tensor, Tensor]:
    """-> what pixels are multiplied by and what is added, (3, 1, 1) each, copied there once."""
    with torch.inference_mode(False):  # or gradients of a later caller could not pass
        (mean, std), (its_mean, its_std) = (
            torch.tensor(x, dtype=torch.float64) for x in (old, new)
        )
        parts = std / its_std, (mean - its_mean) / its_std
        return tuple(part.to(device, dtype).view(3, 1, 1) for part in parts)


IMAGENET = PixelScale((123.675, 116.28, 103.53), (58.395, 57.12, 57.375))


class Student(NamedTuple):
    """What a generator takes from the model that it teaches, where its config does not say."""

    patch_size: int = 16
    embed_dims: int = 768
    scale: PixelScale = IMAGENET


STUDENT = Student()


def build_target(cfg: dict | nn.Module, student: Student) -> nn.Module:
    """A config -> the generator. ``defaults(student)`` of its class fills what the config omits."""
    if isinstance(cfg, nn.Module):
        return cfg
    kind = cfg["type"]
    kind = MODELS.get(kind) if isinstance(kind, str) else kind
    if kind is None:
        raise InputError(
            f"There is no target generator {cfg['type']!r}; choose one of semaim_mm/pretrain/"
            "targets, or register your own in mmpretrain's MODELS and name its module in "
            "custom_imports."
        )
    fill = getattr(kind, "defaults", lambda student: dict(patch_size=student.patch_size))
    try:
        generator = MODELS.build(fill(student) | dict(cfg))
    except TypeError as error:
        raise InputError(
            f"The target_generator {kind.__name__} can't be built: {error}; mend the config."
        ) from error
    if not isinstance(getattr(generator, "out_dims", None), int):
        raise InputError(
            f"The target_generator {kind.__name__} has no out_dims, so it is no target; choose one "
            "of semaim_mm/pretrain/targets."
        )
    return generator


def make_target(generator: nn.Module, imgs: Tensor, model: Any, *given: Tensor) -> Target:
    """Ask a generator; one that ``reads`` a backbone of the model gets the model."""
    if getattr(generator, "reads", None) is not None:
        given = (model, *given)
    return generator(imgs, *given)
