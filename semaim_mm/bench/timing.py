"""Wall-clock times of things to compare, taken in turn so that the machine's drift cancels."""

import gc
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from statistics import median
from typing import NamedTuple

import torch

from semaim_mm.errors import InputError

Step = Callable[[], object]
Clock = Callable[[], float]


class Spread(NamedTuple):
    """The median of several measurements, their smallest and their largest."""

    median: float
    lowest: float
    highest: float

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread":
        """Measurements -> their spread."""
        return cls(median(values), min(values), max(values))

    def scaled(self, factor: float) -> "Spread":
        """The same measurements in another unit; ``factor`` is positive."""
        return Spread(*(value * factor for value in self))

    def per(self, amount: float) -> "Spread":
        """Seconds -> amount a second: the shortest time is the highest rate."""
        return Spread(amount / self.median, amount / self.highest, amount / self.lowest)


def synchronize() -> None:
    """Wait for the accelerator, where there is one."""
    if torch.accelerator.is_available():
        torch.accelerator.synchronize()


def release() -> None:
    """Give the memory of what nobody holds back to the device; call it between parts.

    Steps hold their own bound methods, a cycle that keeps a model until Python looks for cycles.
    """
    if "torch._dynamo" in sys.modules:
        torch.compiler.reset()  # compiled code holds the weights that it was made for
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def seconds_of(step: Step, clock: Clock | None = None) -> float:
    """Run ``step`` once -> seconds, the accelerator's work included."""
    clock = time.perf_counter if clock is None else clock
    synchronize()
    start = clock()
    step()
    synchronize()
    return clock() - start


def interleave(
    arms: Mapping[str, Step], rounds: int, warmup: int = 1, clock: Clock | None = None
) -> dict[str, list[float]]:
    """Run every arm in turn, A B A B ..., ``rounds`` times -> seconds by arm and round.

    ``warmup`` rounds before them are not counted; ``time.process_time`` as the ``clock`` leaves out
    what other processes take. Raises InputError for no round at all.
    """
    if rounds < 1:
        raise InputError(f"A benchmark of {rounds} rounds measures nothing; ask for 1 or more.")
    for _ in range(warmup):
        for step in arms.values():
            step()
    times: dict[str, list[float]] = {name: [] for name in arms}
    for _ in range(rounds):
        for name, step in arms.items():
            times[name].append(seconds_of(step, clock))
    return times


def paired_ratio(numerator: Sequence[float], denominator: Sequence[float]) -> Spread:
    """Times of two arms by round -> the ratio within every round, and its spread."""
    return Spread.of([a / b for a, b in zip(numerator, denominator, strict=True)])
