"""Random numbers that depend on (seed, epoch, sample id) alone: never on rank, worker or position.

A counter-based generator: every number is a hash of its own coordinates, so a batch is drawn at
once on any device, and the same sample draws the same numbers wherever it is processed.
Legend: B images, n numbers an image.
"""

from collections.abc import Sequence

import torch
from mmengine.structures import BaseDataElement
from torch import Tensor

_MASK = (1 << 63) - 1


def _signed(value: int) -> int:
    """An unsigned 64-bit constant as the int64 that holds the same bits."""
    return value - (1 << 64) if value >= 1 << 63 else value


_STREAM = 0x632BE59BD9B4E019
_STEP, _MULTIPLY_1, _MULTIPLY_2 = map(
    _signed, (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB)
)


def _shift(x: Tensor, bits: int) -> Tensor:
    """Logical right shift of int64 (torch's is arithmetic)."""
    return (x >> bits) & ((1 << (64 - bits)) - 1)


def mix(x: Tensor) -> Tensor:
    """int64 -> int64, every output bit depending on every input bit (SplitMix64's finaliser)."""
    x = (x ^ _shift(x, 30)) * _MULTIPLY_1
    x = (x ^ _shift(x, 27)) * _MULTIPLY_2
    return x ^ _shift(x, 31)


class Draws:
    """A stream of random numbers for every image of a batch.

    Args:
        sample_keys: (B, k) int64, e.g. columns seed, epoch, sample id; equal rows draw the same.
    """

    def __init__(self, sample_keys: Tensor):
        state = torch.zeros_like(sample_keys[:, 0])
        for column in sample_keys.unbind(1):
            state = mix(state + column * _STEP + _STEP)
        self.state = state
        self.calls = 0

    @classmethod
    def unkeyed(cls, batch: int, device: torch.device) -> "Draws":
        """Draws seeded from torch's global generator, for images that carry no sample key."""
        return cls(torch.randint(_MASK, (batch, 1), device=device))

    @classmethod
    def of_samples(
        cls, imgs: Tensor, samples: Sequence[BaseDataElement] | None, purpose: int | None = None
    ) -> "Draws":
        """Draws keyed by the samples' ``sample_key`` (KeyedDataset), on the images' device.

        Another ``purpose`` draws other numbers for the same samples.
        """
        keys = [sample.get("sample_key") for sample in samples or ()]
        if not keys or any(key is None for key in keys):
            return cls.unkeyed(len(imgs), imgs.device)
        ends = () if purpose is None else (purpose,)
        table = torch.tensor([[*key, *ends] for key in keys])
        if imgs.is_cuda:
            table = table.pin_memory()
        return cls(table.to(imgs.device, non_blocking=True))

    def integers(self, n: int) -> Tensor:
        """-> (B, n) int64, uniform in [0, 2^63); each call gives new numbers."""
        self.calls += 1
        stream = _signed(self.calls * _STREAM % (1 << 64))
        start = mix(self.state + stream)[:, None]
        index = torch.arange(1, n + 1, device=start.device)
        return mix(start + index * _STEP) & _MASK

    def below(self, bound: int) -> Tensor:
        """-> (B,) int64, uniform in [0, bound)."""
        return self.integers(1)[:, 0] % bound
