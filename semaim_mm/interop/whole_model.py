"""Whether a checkpoint holds the weights of a whole model: all of them, and no others."""

from collections.abc import Iterable, Mapping

from torch import Tensor, nn

from semaim_mm.errors import InputError
from semaim_mm.interop.refusals import describe

NAMED = 5  # keys of a kind that the sentence lists


def check_weights(model: nn.Module, state: Mapping[str, Tensor], origin: str) -> None:
    """Compare a state dict with a model's own by name and shape, before anything is loaded.

    Every rank comes to the same end, where mmengine's strict loading raises on the first alone.

    Raises:
        InputError: weights that the file lacks, that the model has no place for, or of another
            shape; it lists their keys.
    """
    own = model.state_dict()
    missing = [key for key in own if key not in state]
    foreign = [key for key in state if key not in own]
    sizes = [
        f"{key} {tuple(state[key].shape)}, here {tuple(value.shape)}"
        for key, value in own.items()
        if key in state and isinstance(value, Tensor) and state[key].shape != value.shape
    ]
    wrong = []
    if missing:
        wrong.append(f"it lacks {len(missing)} of {len(own)} weights ({_listed(missing)})")
    if foreign:
        wrong.append(f"the model has no place for {len(foreign)} of its own ({_listed(foreign)})")
    if sizes:
        wrong.append(f"{len(sizes)} have another shape ({_listed(sizes)})")
    if wrong:
        raise InputError(
            f"{origin} does not hold the weights of this model: {'; '.join(wrong)}. It has "
            f"{describe(state)}. Nothing was loaded: give the checkpoint of this config, or load a "
            "backbone through model.backbone.init_cfg instead."
        )


def _listed(names: Iterable[str]) -> str:
    names = list(names)
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more
