"""Mean and variance of a table that is read a chunk at a time."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from semaim_mm.transfer.feature_store import FeatureTable

CHUNK_BYTES = 128 * 2**20


class Moments(NamedTuple):
    """Mean (D,) and population variance (D,) of ``count`` vectors, float32."""

    mean: Tensor
    variance: Tensor
    count: int


def merge(a: Moments, b: Moments) -> Moments:
    """Moments of two disjoint sets -> those of their union (Chan et al. 1979)."""
    count = a.count + b.count
    delta = b.mean - a.mean
    mean = a.mean + delta * (b.count / count)
    between = delta.square() * (a.count / count) * (b.count / count)
    variance = a.variance * (a.count / count) + b.variance * (b.count / count) + between
    return Moments(mean, variance, count)


def table_moments(
    tables: dict[str, FeatureTable | Tensor], index: Tensor, device: torch.device
) -> dict[str, Moments]:
    """Moments of the images ``index`` (n,) of every table, each image read once.

    (n, L, D) tokens count one by one. Beside the sums this holds one chunk of one table as stored
    and in float32, of which the latter takes at most CHUNK_BYTES (or one image, if that is more).
    """
    largest = max(math.prod(table.shape[1:]) for table in tables.values())
    found = {}
    for part in index.split(chunk_images(largest)):
        for name, table in tables.items():
            chunk = _moments(table[part].to(device).float().flatten(0, -2))
            found[name] = merge(found[name], chunk) if name in found else chunk
    return found


def _moments(x: Tensor) -> Moments:
    return Moments(x.mean(dim=0), x.var(dim=0, unbiased=False), len(x))


def chunk_images(numbers: int) -> int:
    """Images of ``numbers`` features each that fit in CHUNK_BYTES as float32."""
    return max(1, CHUNK_BYTES // (4 * numbers))


def moments_memory(shapes: Sequence[Sequence[int]]) -> int:
    """Shapes of one image in each table -> bytes that ``table_moments`` holds at most."""
    numbers = max(math.prod(shape) for shape in shapes)
    widths = sum(shape[-1] for shape in shapes)
    return 2 * max(CHUNK_BYTES, 4 * numbers) + 2 * 4 * widths
