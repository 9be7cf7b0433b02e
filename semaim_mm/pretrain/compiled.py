"""``torch.compile`` on the three callables that hold a pretraining step's work."""

from copy import deepcopy
from inspect import ismethod
from typing import Any

import torch
from torch import nn

from semaim_mm.errors import InputError
from semaim_mm.pretrain.multi_head import MultiHead


def compile_hot(model: Any, backend: str = "inductor", **how: Any) -> None:
    """Compile a SemAIM's similarity pass, streams (to the prediction) and loss, in place.

    Each is one graph of static shapes: a graph break is an error, not a slow run. Another batch
    size, as validation may have, is another graph.

    Args:
        backend, **how: torch.compile's own, e.g. ``mode='max-autotune-no-cudagraphs'``.

    Raises:
        InputError: torch knows no such backend or argument.
    """
    known = torch.compiler.list_backends(exclude_tags=())
    if backend not in known:
        raise InputError(
            f"model.compiled has backend={backend!r}, which torch doesn't know; choose one of "
            f"{', '.join(sorted(known))}."
        )
    options = dict(fullgraph=True, dynamic=False, backend=backend) | how
    loss = "weighed" if isinstance(model.head, MultiHead) else "loss"
    hot = ((model, "similarity_map"), (model, "predict_in_order"), (model.head, loss))
    try:
        for holder, name in hot:
            setattr(holder, name, torch.compile(getattr(holder, name), **options))
    except (TypeError, RuntimeError) as error:
        raise InputError(
            f"model.compiled={how} is not what torch.compile takes ({error}); mend it."
        ) from error


def uncompiled_copy(model: nn.Module) -> nn.Module:
    """A deep copy that computes the same without torch.compile, on weights of its own.

    A compiled method belongs to the model that it was compiled for, so a plain deep copy would run
    on that model's weights and put gradients there.
    """
    copied = deepcopy(model)
    for module in copied.modules():
        for name, value in list(vars(module).items()):
            original = getattr(value, "_torchdynamo_orig_callable", None)
            if ismethod(original):
                delattr(module, name)  # the class has the method
            elif original is not None:
                setattr(module, name, original)
    return copied
