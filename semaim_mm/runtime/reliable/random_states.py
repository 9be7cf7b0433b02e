"""The state of every random generator of a process, as a checkpoint may hold it."""

import random
from typing import Any

import numpy as np
import torch
from mmengine.dist import all_gather_object, get_rank, get_world_size

from semaim_mm.errors import InputError

# what the generators raise for values that are no state of theirs
NO_STATE = (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError)


def random_state() -> dict[str, Any]:
    """-> this process' states: plain values and tensors, safe to load with ``weights_only``."""
    version, numbers, gauss = random.getstate()
    kind, keys, *rest = np.random.get_state()
    return dict(
        python=[version, list(numbers), gauss],
        numpy=[kind, [int(key) for key in keys], *rest],
        torch=torch.get_rng_state(),
        cuda=list(torch.cuda.get_rng_state_all()) if torch.cuda.is_initialized() else [],
    )


def set_random_state(state: dict[str, Any]) -> None:
    """Put a ``random_state`` back; GPUs' only where there are as many as before."""
    version, numbers, gauss = state["python"]
    random.setstate((version, tuple(numbers), gauss))
    kind, keys, *rest = state["numpy"]
    np.random.set_state((kind, np.array(keys, dtype=np.uint32), *rest))
    torch.set_rng_state(state["torch"].cpu())
    if state["cuda"] and len(state["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all([one.cpu() for one in state["cuda"]])


def random_states() -> list[dict[str, Any]]:
    """-> the ``random_state`` of every rank; all ranks have to call it."""
    return [random_state()] if get_world_size() == 1 else all_gather_object(random_state())


def restore_random_state(states: list[dict[str, Any]] | None) -> None:
    """Put this rank's state back, where the states are of as many ranks as there are now.

    Raises InputError for one that is no state of a generator.
    """
    if states and len(states) == get_world_size():
        try:
            set_random_state(states[get_rank()])
        except NO_STATE as error:
            raise InputError(
                f"random_states of the checkpoint is damaged ({error}), so the run would not go on "
                "as it was; resume from another checkpoint."
            ) from error
