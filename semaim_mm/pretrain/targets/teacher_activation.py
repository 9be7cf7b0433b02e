"""Does a timm tower compute the activation that a file of weights was trained with?

QuickGELU and GELU have no weights, so a file of one fits a tower of the other, with other tokens.
"""

from collections.abc import Mapping
from pathlib import Path

import timm
from torch import Tensor, nn

from semaim_mm.errors import InputError
from semaim_mm.interop.backbone_checkpoint import activation_of
from semaim_mm.interop.backbone_file import Origin

QUICK = "quick_gelu"
BY_NAMES = "its family"  # the keys alone: open_clip's trainings have OpenAI's, and often GELU
# what OpenAI's archives hold beside the weights, and nobody else's
ARCHIVE = ("input_resolution", "context_length", "vocab_size")


def check_activation(
    teacher: nn.Module, origin: Origin, flat: Mapping[str, Tensor], path: str | Path, name: str
) -> None:
    """Raise InputError where QuickGELU and GELU are mixed up, naming timm's right model.

    The file tells it by a config or a note, or by being OpenAI's archive. Where its keys alone do,
    the tag of the timm name decides: timm has the weights of that tag with QuickGELU, or not.
    """
    built = activation_of(teacher.blocks[0].mlp.act)
    known, source = origin.activation, origin.told_by["activation"]
    if all(key in flat for key in ARCHIVE):
        known, source = QUICK, "OpenAI's archive"
    elif source == BY_NAMES and known == QUICK and not _is_tag_of_quick(name):
        return
    if (built == QUICK) == (known == QUICK):
        return
    raise InputError(
        f"{path} ({origin.family}) was trained with {known} (by {source}), and {name} computes "
        f"{built}, so its tokens would be others. Name {_other(name, known == QUICK, source)} in "
        "target_generator.model."
    )


def _is_tag_of_quick(name: str) -> bool:
    """Whether timm has this name's weights with QuickGELU; a name without a tag may be of them."""
    base, _, tag = name.partition(".")
    return not tag or f"{_quick(base)}.{tag}" in timm.list_pretrained("*quickgelu*")


def _quick(base: str) -> str:
    return base if "quickgelu" in base else base.replace("_clip_", "_clip_quickgelu_")


def _other(name: str, is_quick: bool, source: str) -> str:
    """-> the timm model of the other activation, or what it has to be."""
    base, _, tag = name.partition(".")
    if not is_quick:
        return f"{base.replace('_quickgelu', '')} with the tag of the file's training"
    tag = tag if tag and source == BY_NAMES else "openai"
    wanted = f"{_quick(base)}.{tag}"
    if wanted not in timm.list_pretrained("*quickgelu*"):
        return "a model of timm.list_models('*quickgelu*', pretrained=True)"
    more = "" if "." in name else f" (or, of another training, {base} with that training's tag)"
    return wanted + more
