"""What DistributedDataParallel is told where the config does not say otherwise."""

from collections.abc import Mapping
from typing import Any

from semaim_mm.errors import InputError

DDP, FSDP = "MMDistributedDataParallel", "MMFullyShardedDataParallel"


def wrapper_settings(
    stated: Mapping[str, Any] | None, find_unused: bool, hindrance: str | None = None
) -> dict[str, Any]:
    """A config's ``model_wrapper_cfg`` -> the settings that the model is wrapped with.

    Gradients are views of the buckets that are reduced: one copy of them less. Without
    ``find_unused_parameters`` every weight has a gradient in every step, so the graph is static.

    Args:
        stated: they come first; another ``type`` than mmengine's DDP keeps its own defaults.
        find_unused: mmengine's ``find_unused_parameters`` of the config.
        hindrance: what rules a static graph out, as ``static_graph_hindrance`` says.

    Raises:
        InputError: a static graph is stated in spite of the hindrance; sharded weights.
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
    static = hindrance is None and not settings["find_unused_parameters"]
    settings.setdefault("static_graph", static)
    if settings["static_graph"] and hindrance is not None:
        raise InputError(
            f"model_wrapper_cfg has static_graph=True, and {hindrance}; leave static_graph out."
        )
    return settings


def static_graph_hindrance(accumulates: bool, compiled: bool) -> str | None:
    """What torch 2.11's static graph does not go with, found by tests/faults/test_two_ranks.py."""
    if accumulates:
        return "an update accumulates several steps, the first of which torch then aborts in"
    if compiled:
        return "parts of the model are compiled, whose gradients torch then reduces only once"
    return None
