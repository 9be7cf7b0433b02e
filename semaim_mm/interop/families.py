"""Whose backbone a file holds, told from its keys: the table of naming schemes, and the search.

A file may nest its weights (``teacher``, ``model``) and prefix them (``backbone.``, ``module.``);
a scheme is known by one key that all its backbones have. A new scheme is a file and a row here.
"""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor

from semaim_mm.errors import InputError
from semaim_mm.interop import huggingface_names, mmpretrain_names, openai_names, timm_names
from semaim_mm.interop.refusals import describe, refuse_traits
from semaim_mm.interop.renaming import Found, GridGuess, State


class Scheme(NamedTuple):
    """A naming scheme: the key that shows it, the way to our names, the family's name."""

    marker: str
    rename: Callable[[State, GridGuess], Found]
    family: Callable[[State, Iterable[str]], str]


SCHEMES = (
    Scheme(mmpretrain_names.MARKER, mmpretrain_names.rename, mmpretrain_names.family_name),
    Scheme(timm_names.MARKER, timm_names.rename, timm_names.family_name),
    Scheme(
        huggingface_names.VIT_MARKER, huggingface_names.rename_vit, huggingface_names.vit_family
    ),
    Scheme(
        huggingface_names.CLIP_MARKER, huggingface_names.rename_clip, huggingface_names.clip_family
    ),
    Scheme(openai_names.MARKER, openai_names.rename, openai_names.family_name),
)

# where several backbones are in one file, the first of these is meant
_CONTAINERS = ("", "state_dict.", "model.", "module.", "teacher.", "target_encoder.", "encoder.")
_PREFIXES = ("backbone.", "", "base_encoder.", "encoder.", "vision_model.", "visual.")


class Located(NamedTuple):
    """A backbone inside a file: its scheme, its prefix, its weights without it, all other keys."""

    scheme: Scheme
    prefix: str
    state: dict[str, Tensor]
    elsewhere: tuple[str, ...]


def flatten(content: Mapping[str, Any]) -> dict[str, Tensor]:
    """What a file holds -> its tensors by name; a nested state dict's name becomes a prefix.

    ``module.`` at the front, which DistributedDataParallel adds, is dropped.
    """
    flat = {}
    for name, value in content.items():
        if isinstance(value, Tensor):
            flat[str(name).removeprefix("module.")] = value
        elif isinstance(value, Mapping) and _is_state(value):
            container = "" if name == "module" else f"{name}."
            for key, tensor in value.items():
                flat[container + str(key).removeprefix("module.")] = tensor
    return flat


def _is_state(value: Mapping) -> bool:
    return bool(value) and all(isinstance(item, Tensor) for item in value.values())


def locate(content: Mapping[str, Any], path: str | Path, prefix: str | None = None) -> Located:
    """What a file holds -> the backbone in it.

    Args:
        prefix: which one where there are several, e.g. 'student.backbone.'.

    Raises:
        InputError: no backbone of a known scheme, or several and no ``prefix``.
    """
    flat = flatten(content)
    found = [
        (key.removesuffix(scheme.marker), scheme)
        for scheme in SCHEMES
        for key in flat
        if key == scheme.marker or key.endswith(f".{scheme.marker}")
    ]
    if prefix is not None:
        asked = prefix if not prefix or prefix.endswith(".") else f"{prefix}."
        chosen = [item for item in found if item[0] == asked]
        if not chosen:
            raise InputError(
                f"{path} has no backbone under {asked!r}; it has some under "
                f"{', '.join(repr(name) for name, _ in found) or 'no prefix at all'}."
            )
    else:
        chosen = sorted(found, key=lambda item: _rank(item[0]))
    if not chosen:
        refuse_traits(flat)
        raise InputError(
            f"{path} holds no backbone of a known form (SemAIM, mmpretrain, timm, Hugging Face or "
            f"OpenAI CLIP names); it has {describe(flat) or describe(map(str, content))}. Nothing "
            "was loaded: name another checkpoint."
        )
    name, scheme = chosen[0]
    if len(chosen) > 1 and _rank(chosen[1][0]) == _rank(name):
        raise InputError(
            f"{path} holds several backbones, under {', '.join(repr(n) for n, _ in chosen)}; say "
            "which with prefix=..."
        )
    inside = {k.removeprefix(name): v for k, v in flat.items() if k.startswith(name)}
    elsewhere = tuple(key for key in flat if not key.startswith(name))
    return Located(scheme, name, inside, elsewhere)


def _rank(prefix: str) -> tuple[int, int]:
    best = (len(_CONTAINERS), len(_PREFIXES))
    for place, container in enumerate(_CONTAINERS):
        if prefix.startswith(container) and prefix.removeprefix(container) in _PREFIXES:
            best = min(best, (place, _PREFIXES.index(prefix.removeprefix(container))))
    return best
