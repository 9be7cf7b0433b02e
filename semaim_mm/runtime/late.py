"""Numbers of the device that the host reads later, so that no step waits for them."""

from typing import Any

import numpy as np
import torch
from mmengine.logging import HistoryBuffer, MessageHub
from torch import Tensor


class LateValues:
    """A few numbers of a device, on their way to the host.

    The copy is queued behind what computes them; ``read`` waits for it and for nothing queued
    later. ``late`` says whether there is anything to wait for.
    """

    def __init__(self, values: Tensor):
        values = values.detach()
        self.late = values.is_cuda
        if not self.late:
            self._host = values.clone()
            return
        self._host = torch.empty(values.shape, dtype=values.dtype, pin_memory=True)
        self._host.copy_(values, non_blocking=True)
        self._copied = torch.cuda.Event()
        self._copied.record()

    def read(self) -> np.ndarray:
        """-> the numbers, in the tensor's shape."""
        if self.late:
            self._copied.synchronize()
        return self._host.numpy()


class LateHistory(HistoryBuffer):
    """mmengine's history of a logged value; it takes tensors, and reads them when it is read."""

    def __init__(self, *args: Any, **kwargs: Any):
        self._waiting: list[Tensor] = []
        super().__init__(*args, **kwargs)

    def add(self, value: Tensor) -> None:
        """Append a tensor () without waiting for it."""
        self._waiting.append(value.detach())

    def _read(self) -> None:
        if self._waiting:
            values = torch.stack(self._waiting).cpu().numpy()
            self._waiting = []
            self._values = np.append(self._values, values)[-self.max_length :]
            self._counts = np.append(self._counts, np.ones(len(values)))[-self.max_length :]

    # what every method of mmengine's class reads and sets
    @property
    def _log_history(self) -> np.ndarray:
        self._read()
        return self._values

    @_log_history.setter
    def _log_history(self, values: np.ndarray) -> None:
        self._values = values

    @property
    def _count_history(self) -> np.ndarray:
        self._read()
        return self._counts

    @_count_history.setter
    def _count_history(self, counts: np.ndarray) -> None:
        self._counts = counts

    def __deepcopy__(self, memo: dict) -> HistoryBuffer:
        # what a checkpoint holds is mmengine's own class
        return HistoryBuffer(*self.data, max_length=self.max_length)


def log_late(hub: MessageHub, key: str, value: Any) -> None:
    """Log a value as the hub does; a tensor () is read once someone asks for it.

    The first value of a key is read at once, as the hub makes its history.
    """
    found = hub.log_scalars.get(key)
    if found is None or not isinstance(value, Tensor):
        hub.update_scalar(key, value)
        return
    if not isinstance(found, LateHistory):
        found = LateHistory(*found.data, max_length=found.max_length)
        hub.log_scalars[key] = found
    found.add(value)
