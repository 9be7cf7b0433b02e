"""What p values of several tests are worth together, and what so many seeds could have shown."""

from collections.abc import Sequence

import numpy as np
from scipy import optimize, stats

from semaim_mm.errors import InputError

ALPHA, POWER = 0.05, 0.8


def holm(p: Sequence[float | None], tests: int | None = None) -> list[float | None]:
    """p values -> corrected ones, in the same order. A declared test without one still counts.

    ``tests``: how many there are, those not in ``p`` too; as many as ``p`` unless told.

    Source: Holm 1979, step down: the smallest is multiplied by the number of tests, the next by
    one less, none falls below the one before.
    """
    corrected: list[float | None] = [None] * len(p)
    known = sorted((value, index) for index, value in enumerate(p) if value is not None)
    tests, largest = len(p) if tests is None else tests, 0.0
    for rank, (value, index) in enumerate(known):
        largest = max(largest, min(1.0, value * (tests - rank)))
        corrected[index] = largest
    return corrected


def smallest_difference(sd: float, n: int, alpha: float = ALPHA, power: float = POWER) -> float:
    """Standard deviation of n paired differences -> the true mean that a t test would show.

    Two-sided at ``alpha``, found in a share ``power`` of repetitions; in the unit of ``sd``.
    Raises InputError for fewer than two pairs.
    """
    if n < 2:
        raise InputError(f"{n} pairs show no difference of any size; run at least two seeds.")
    edge = stats.t.isf(alpha / 2, n - 1)

    def lacking(shift: float) -> float:
        # t squared is F, whose noncentral law scipy has at large shifts too, unlike that of t
        return stats.ncf.sf(edge**2, 1, n - 1, shift**2) - power

    # the power at a shift of the edge is about one half, and grows with the shift
    high = edge
    while lacking(high) < 0:
        high *= 2
    return float(optimize.brentq(lacking, 0, high)) * sd / np.sqrt(n)
