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


SCALE = ("mean", "std")


def gives_rgb(preprocessor: nn.Module) -> bool:
    """Whether a data preprocessor hands on RGB: files are read as BGR, which it may leave so."""
    return bool(getattr(preprocessor, "_channel_conversion", True))


class PixelScale(NamedTuple):
    """Mean and standard deviation, of pixels in 0..255, that images were normalised with.

    Both in the order of the images' channels: RGB, or BGR where ``is_rgb`` is False.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    is_rgb: bool = True

    @classmethod
    def of(cls, preprocessor: dict | nn.Module | None) -> "PixelScale":
        """A data preprocessor or its config -> its scale; 0 and 1 where it does not normalise."""
        if isinstance(preprocessor, nn.Module):
            built = preprocessor
            scale = [getattr(preprocessor, name, None) for name in SCALE]
            mean, std = (None if x is None else x.flatten().tolist() for x in scale)
        else:  # its own numbers, which a module has rounded to float32
            told = dict(type="SelfSupDataPreprocessor") | dict(preprocessor or {})
            built = MODELS.build(told)
            mean, std = (told.get(name) for name in SCALE)
        return cls(tuple(mean or (0.0,) * 3), tuple(std or (1.0,) * 3), gives_rgb(built))

    def in_rgb(self) -> "PixelScale":
        """-> the same scale for images whose channels are in the order RGB."""
        return self if self.is_rgb else PixelScale(self.mean[::-1], self.std[::-1])

    def convert(self, imgs: Tensor, to: "PixelScale") -> Tensor:
        """(B, 3, H, W) of this scale -> of a teacher's, RGB; unchanged where both agree."""
        if not self.is_rgb:
            return self.in_rgb().convert(imgs.flip(1), to)
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
            torch.tensor(x[:2], dtype=torch.float64) for x in (old, new)
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
