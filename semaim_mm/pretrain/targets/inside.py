"""What a target generator runs without sample ids: the teachers inside it, and the map's one."""

from pathlib import Path

from torch import nn

from semaim_mm.errors import InputError
from semaim_mm.pretrain.targets.cached import CachedTarget
from semaim_mm.pretrain.targets.given import GivenTokens
from semaim_mm.pretrain.targets.multi import MultiTarget


def absent(generator: nn.Module) -> str | None:
    """-> what keeps the generator from running on any picture, in words; None where nothing does.

    Looks into a MultiTarget and at the live teacher of a CachedTarget.
    """
    for module in generator.modules():
        if isinstance(module, GivenTokens):
            return "its teacher's tokens are handed in by the caller (GivenTokens)"
        weights = getattr(module, "weights", None)
        if isinstance(weights, str | Path) and not Path(weights).is_file():
            return f"the weights of {type(module).__name__} are not at {weights}"
    return None


def check_at_hand(generator: nn.Module) -> None:
    """Raise InputError unless the generator can run on any picture."""
    why = absent(generator)
    if why is not None:
        raise InputError(
            f"The target {type(generator).__name__} can't be computed here: {why}. Get them there, "
            "or name another analysis with --only."
        )


def giver(generator: nn.Module) -> nn.Module:
    """-> the generator inside whose tokens give the map of ``similarity_from='target'``."""
    if isinstance(generator, MultiTarget):
        gives = (g for g in generator.generators if getattr(g, "gives_tokens", True))
        return giver(next(gives, generator.generators[0]))
    return giver(generator.teacher) if isinstance(generator, CachedTarget) else generator
