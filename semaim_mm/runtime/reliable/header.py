"""What a checkpoint says of itself is data of unknown origin: checked before anything uses it."""

from typing import Any

from semaim_mm.errors import InputError


def check_header(checkpoint: dict[str, Any], path: str, resumes: bool) -> None:
    """Check a checkpoint's ``meta`` in place, and take out the config that mmengine would execute.

    Raises:
        InputError: a run that resumes finds no epoch and iteration in it.
    """
    meta = checkpoint["meta"] = checkpoint.get("meta") or {}
    meta.pop("config", None)  # Runner.resume would execute it
    if not resumes:
        return
    for key in ("epoch", "iter"):
        number = meta.get(key)
        if isinstance(number, bool) or not isinstance(number, int) or number < 0:
            raise InputError(
                f"{path} can't be resumed from: its meta has {key}={number!r}, not a number of "
                "finished ones. Weights alone are where a run starts, by "
                "model.backbone.init_cfg.checkpoint or load_from, not what it goes on from."
            )
