"""What ranks have to agree on: an error of one stops all, a yes of one is a yes of all."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from mmengine.device import get_device
from mmengine.dist import all_gather_object, all_reduce, broadcast_object_list, get_world_size
from torch import Tensor

from semaim_mm.errors import InputError
from semaim_mm.runtime.late import LateValues


@contextmanager
def stop_together() -> Iterator[None]:
    """Raise an InputError of one rank on every rank at the block's end.

    So no rank waits for one that has gone.
    """
    mine = None
    try:
        yield
    except InputError as error:
        if get_world_size() == 1:
            raise
        mine = error
    if get_world_size() > 1:
        told = all_gather_object(None if mine is None else str(mine))
        first = next((sentence for sentence in told if sentence is not None), None)
        if first is not None:
            raise mine or InputError(first)


def largest(number: int) -> int:
    """-> the largest of all ranks' numbers."""
    if get_world_size() == 1:
        return number
    shared = torch.tensor([number], device=get_device())
    all_reduce(shared, op="max")
    return int(shared.item())


def any_rank(flag: Tensor) -> Tensor:
    """A bool () of this rank -> whether it is true on any, which the host does not wait for."""
    if get_world_size() == 1:
        return flag
    shared = flag.float()
    all_reduce(shared, op="max")
    return shared > 0


def largest_later(number: int) -> LateValues:
    """The largest of all ranks' numbers, to be read once the next update has been queued."""
    shared = torch.full((), number, device=get_device())
    all_reduce(shared, op="max")
    return LateValues(shared)


def from_main(value: Any) -> Any:
    """-> the first rank's value, on every rank."""
    if get_world_size() == 1:
        return value
    shared = [value]
    broadcast_object_list(shared)
    return shared[0]
