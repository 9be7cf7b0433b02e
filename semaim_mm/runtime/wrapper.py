"""What DistributedDataParallel is told where the config does not say otherwise."""

from collections.abc import Mapping
from typing import Any

from semaim_mm.errors import InputError

DDP, FSDP = "MMDistributedDataParallel", "MMFullyShardedDataParallel"


def wrapper_settings(
    stated: Mapping[str, Any] | None, find_unused: bool, accumulates: bool
) -> dict[str, Any]:
    """A config's ``model_wrapper_cfg`` -> the settings that the model is wrapped with.

    Gradients are views of the buckets that are reduced: one copy of them less. Without
    ``find_unused_parameters`` every weight has a gradient in every step, so the graph is static.
    Not where steps are accumulated: torch aborts if a static graph's first step is not reduced.

    Args:
        stated: they come first; another ``type`` than mmengine's DDP keeps its own defaults.
        find_unused: mmengine's ``find_unused_parameters`` of the config.
        accumulates: whether an update has more than one step.

    Raises:
        InputError: a static graph is stated where steps are accumulated; sharded weights.
    """
    stated = dict(stated or {})
    if stated.get("type") == FSDP:
        raise InputError(
            f"model_wrapper_cfg asks for {FSDP}, and this runner initialises, saves and loads "
            "whole weights once the model is wrapped, which sharded ones are not. For large models "
            "set model.backbone.with_cp=True (in pretraining model.neck.with_cp=True too): blocks "
            "are recomputed in the backward pass."
        )
    if stated.get("type", DDP) != DDP:
        return stated
    # mmengine drops the first two of its own defaults as soon as anything is stated
    settings = dict(
        type=DDP,
        broadcast_buffers=False,
        find_unused_parameters=find_unused,
        gradient_as_bucket_view=True,
    )
    settings |= stated
    static = not accumulates and not settings["find_unused_parameters"]
    settings.setdefault("static_graph", static)
    if settings["static_graph"] and accumulates:
        raise InputError(
            "model_wrapper_cfg has static_graph=True, and an update accumulates several steps, "
            "which torch's DistributedDataParallel can't do together; leave static_graph out, or "
            "raise train_dataloader.batch_size until one step is an update."
        )
    return settings
