"""What the builders of library models share: random weights, cases, preprocessing.

Legend: B images, E extra tokens (CLS, registers), L patches, D width.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
OTHER = ((64, 64), (80, 112))  # the models' own input, and one to which positions are interpolated


class Case(NamedTuple):
    """What a file holds, the library's forward from raw pixels 0..255, and what a caller must say.

    ``sizes`` are inputs (height, width) at which the library runs; the first is the model's own.
    """

    content: dict[str, Any]
    tokens: Callable[[Tensor], Tensor]
    family: str
    sizes: tuple[tuple[int, int], ...] = ((64, 64),)
    told: Mapping[str, Any] = MappingProxyType({})


def randomise(model: nn.Module, seed: int = 0) -> nn.Module:
    """Every parameter random: matrices by their fan-in, norms, tables, scales N(0, 1)."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator))
            if parameter.ndim >= 2 and name.endswith("weight"):
                parameter.div_(parameter[0].numel() ** 0.5)
    return model.eval()


def state_of(model: nn.Module) -> dict[str, Tensor]:
    return {key: value.clone() for key, value in model.state_dict().items()}


def scaled(mean, std, call: Callable[[Tensor], Tensor]) -> Callable:
    """-> pixels 0..255 to tokens, normalised as the library says (mean and std of 0..1)."""

    def run(pixels: Tensor) -> Tensor:
        shape = (-1, 1, 1)
        x = (pixels / 255 - torch.tensor(mean).view(shape)) / torch.tensor(std).view(shape)
        with torch.no_grad():
            return call(x)

    return run


def prefixed(state: dict, prefix: str) -> dict:
    return {prefix + key: value for key, value in state.items()}
