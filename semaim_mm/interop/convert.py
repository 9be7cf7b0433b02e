"""Converting a checkpoint between naming schemes: every key accounted for, no value changed.

A file's family is told from its keys, never from its name. The names of a SemAIM algorithm are
the hub: a family says how its keys become ours and how ours become its own, so a new one is a row
in FAMILIES. Backbones of all other families, and timm's names, are convert_foreign.py's. What our
state dict does not hold but the authors' does (the blur kernel) travels in the file's meta, so that
the way there and back changes no bit.
"""

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor

from semaim_mm.errors import InputError
from semaim_mm.interop.authors import authors_name, is_authors_state, our_name
from semaim_mm.interop.blur_kernel import BLUR_KEY, BlurKernel, target_of_text
from semaim_mm.interop.checkpoint_file import CONTAINERS, read_file, state_dict_of
from semaim_mm.interop.checkpoint_write import META_KEY, check_out, read_meta, write_checkpoint
from semaim_mm.interop.conversion import Conversion, Row
from semaim_mm.interop.convert_foreign import convert_foreign, read_foreign

State = Mapping[str, Tensor]

_LINEAR = r"\.(weight|bias)"
_AUTHORS_KEY = re.compile(
    r"cls_token|pos_embed|gaussian_blur\.weight"
    rf"|(patch_embed\.proj|norm|prediction_head(\.fc[12])?){_LINEAR}"
    rf"|blocks\.\d+\.(norm[12]|attn\.(qkv|proj)|mlp\.fc[12]){_LINEAR}"
    rf"|query_blocks\.\d+\.(norm[12]|attn\.(q|k|v|proj)|mlp\.fc[12]){_LINEAR}"
)
_AUTHORS_REST = ("query_blocks.", "prediction_head.", "gaussian_blur.", "head.")


class Family(NamedTuple):
    """A naming scheme; a name of None means that the other side holds no such weight."""

    name: str
    matches: Callable[[State], bool]
    to_ours: Callable[[str], str | None]
    from_ours: Callable[[str], str | None]


def _from_authors(key: str) -> str | None:
    if not _AUTHORS_KEY.fullmatch(key):
        raise InputError(
            f"{key!r} is none of the authors' names, so it has no counterpart here; nothing was "
            "converted. Is it a SemAIM checkpoint?"
        )
    return our_name(key)


def _to_authors(key: str) -> str | None:
    name = authors_name(key)
    if name is not None and not _AUTHORS_KEY.fullmatch(name):
        raise InputError(
            f"{key!r} has no counterpart in the authors' code, so the checkpoint can't be written "
            "in their names; nothing was converted. --part backbone writes the backbone alone."
        )
    return name


FAMILIES = (
    Family("authors", is_authors_state, _from_authors, _to_authors),
    Family(
        "mmpretrain",
        lambda state: any(key.startswith("backbone.") for key in state),
        lambda key: key,
        lambda key: key,
    ),
    # a backbone alone, as --part backbone writes it
    Family(
        "mmpretrain",
        lambda state: "patch_embed.projection.weight" in state,
        lambda key: f"backbone.{key}",
        lambda key: key.removeprefix("backbone."),
    ),
)
TARGETS = (*dict.fromkeys(family.name for family in FAMILIES), "timm")


class Source(NamedTuple):
    """A file as read: weights without ``module.``, their keys as they stood, and what else."""

    path: str | Path
    state: dict[str, Tensor]
    raw_names: dict[str, str]
    is_averaged: bool
    is_safetensors: bool
    meta: dict[str, Any]
    unread: tuple[str, ...]


def read_source(path: str | Path, ema: bool = False) -> Source:
    """A checkpoint file of any form; ``ema`` asks for the authors' averaged weights."""
    content = read_file(path)
    if not isinstance(content, Mapping):
        raise InputError(
            f"{path} holds a {type(content).__name__}, not weights by name; save a state dict."
        )
    held = next((name for name in CONTAINERS if isinstance(content.get(name), Mapping)), None)
    is_averaged = ema and isinstance(content.get("ema_state_dict"), Mapping)
    held = "ema_state_dict" if is_averaged else held
    raw = content[held] if held else content
    state = state_dict_of({"state_dict": raw}, path)
    if len(state) != len(raw):
        raise InputError(
            f"{path} holds keys that are the same one without 'module.'; remove those not meant."
        )
    is_safetensors, meta = read_meta(path, content)
    # our own meta is carried over by find_blur
    read = {held, "meta"} if META_KEY in meta else {held}
    unread = tuple(str(key) for key in content if key not in read) if held else ()
    raw_names = dict(zip(state, map(str, raw), strict=True))
    return Source(path, state, raw_names, is_averaged, is_safetensors, meta, unread)


def convert_file(
    path: str | Path,
    out: str | Path,
    to: str | None = None,
    part: str = "all",
    ema: bool = False,
    target_config: Mapping[str, Any] | None = None,
) -> Conversion:
    """Write the checkpoint ``path`` to ``out`` in another family's names; account for every key.

    Args:
        to: 'mmpretrain', 'authors' or 'timm' (the backbone alone); None means of the first two the
            one that ``path`` is not in, 'mmpretrain' for a backbone of another family.
        part: 'all', or 'backbone': the backbone alone in mmpretrain's names, as init_cfg wants it.
        ema: the averaged copy of the backbone in place of the online one; with part='backbone'.
        target_config: a config's ``target_generator``, for the blur that the authors' names hold.

    Raises:
        InputError: a file of no known form, a key without counterpart, nothing to change. Then
            nothing is written.
    """
    out = check_out(path, out)
    if part == "backbone" and to not in (None, "mmpretrain"):
        raise InputError(f"--part backbone writes mmpretrain's names, not {to}'s; leave --to out.")
    if ema and part != "backbone":
        raise InputError("--ema exports the averaged backbone alone; say --part backbone with it.")
    foreign = None if ema else read_foreign(path, wanted=to == "timm")
    if foreign is not None:
        conversion = convert_foreign(foreign, out, to or "mmpretrain")
        write_checkpoint(out, conversion.state, conversion.note)
        return conversion
    source = read_source(path, ema)
    family = next((family for family in FAMILIES if family.matches(source.state)), None)
    if family is None:
        raise InputError(
            f"{path} is in no form known here: neither the authors' names (blocks.0.norm1.weight) "
            "nor mmpretrain's (backbone.layers.0.ln1.weight). It has "
            f"{', '.join(list(source.state)[:5])}; nothing was converted."
        )
    if part == "backbone":
        conversion = convert_backbone(source, family, ema)
    else:
        to = to or next(name for name in TARGETS if name != family.name)
        conversion = convert_all(source, family, to, target_config)
    if not conversion.state:
        raise InputError(
            f"{path} holds no weights of {'an averaged' if ema else 'a'} backbone, so nothing "
            f"would be written; it has {', '.join(list(source.state)[:5])}."
        )
    same_format = source.is_safetensors == (out.suffix == ".safetensors")
    if same_format and list(conversion.state) == list(source.raw_names.values()):
        raise InputError(
            f"{path} already holds just these names in this format, so nothing would change; say "
            f"--to {' or '.join(TARGETS)}, --part backbone, or give OUT another suffix."
        )
    write_checkpoint(out, conversion.state, conversion.note)
    if source.unread:
        left = f"beside the weights, not converted: {', '.join(source.unread)}"
        conversion = conversion._replace(remarks=(*conversion.remarks, left))
    return conversion


def convert_backbone(source: Source, family: Family, ema: bool = False) -> Conversion:
    """-> the backbone alone in mmpretrain's names, without a prefix."""
    prefix = "ema.module." if ema and not source.is_averaged else "backbone."
    rows, state = [], {}
    for key, value in source.state.items():
        rest = family.name == "authors" and key.startswith(_AUTHORS_REST)
        name = "" if rest else family.to_ours(key) or ""
        if name.startswith(prefix):
            state[name.removeprefix(prefix)] = value
            rows.append(Row(source.raw_names[key], name.removeprefix(prefix)))
        else:
            why = "the online copy" if name.startswith("backbone.") else "not part of the backbone"
            rows.append(Row(source.raw_names[key], None, why))
    title = f"{family.name} -> mmpretrain, the {'averaged ' if ema else ''}backbone alone"
    return Conversion(title, rows, state, {})


def convert_all(
    source: Source, family: Family, to: str, target_config: Mapping[str, Any] | None = None
) -> Conversion:
    """-> every weight in the names of ``to``, the authors' blur kernel dropped or added."""
    target = next(candidate for candidate in FAMILIES if candidate.name == to)
    kernel, told = find_blur(source, family, target_config)
    if to == "authors" and family.name != to:
        _refuse_classifier(source)
    rows, state = [], {}
    for key, value in source.state.items():
        ours = family.to_ours(key)
        name = key if family.name == to else ours and target.from_ours(ours)
        if name:
            state[name] = value
            why = ""
        elif key == BLUR_KEY:
            why = f"a {kernel}, which the model here derives; its values are kept in meta"
        else:
            why = f"the {to} model's own state holds no such weight"
        rows.append(Row(source.raw_names[key], name, why))
    remarks = ()
    if to == "authors" and BLUR_KEY not in state:
        if kernel is None:
            remarks = (f"no {BLUR_KEY}: the target is not blurred, {told}",)
        else:
            like = next(iter(state.values()))
            state[BLUR_KEY] = kernel.weight().to(like.dtype)
            rows.append(Row(None, BLUR_KEY, f"a {kernel}, {told}"))
    note = {"blur": None if kernel is None else kernel._asdict()}
    return Conversion(f"{family.name} -> {to}", rows, state, note, remarks)


def find_blur(
    source: Source, family: Family, target_config: Mapping[str, Any] | None = None
) -> tuple[BlurKernel | None, str]:
    """-> the blur of the target (None where it has none), and where that is known from."""
    if family.name == "authors":
        kernel = source.state.get(BLUR_KEY)
        return None if kernel is None else BlurKernel.of_weight(kernel), "as the file has it"
    note, text = source.meta.get(META_KEY), source.meta.get("cfg")
    target = target_of_text(text) if isinstance(text, str) else None
    known = None
    if isinstance(note, Mapping) and "blur" in note:
        known = BlurKernel.of_note(note["blur"]), "by the file's meta"
    elif target is not None:
        known = BlurKernel.of_target(target), "by the config text in the file's meta"
    if target_config is not None:
        wanted = BlurKernel.of_target(target_config)
        exact = known and wanted and wanted.same_shape(known[0])
        return known if exact else (wanted, "by the config given")
    return known or (BlurKernel.gaussian(), "by default: neither the file nor --config tells")


def _refuse_classifier(source: Source) -> None:
    """A classifier's linear head has the name of ours, but nothing to do with it."""
    weight, patch = (
        source.state.get(key)
        for key in ("head.fc.weight", "backbone.patch_embed.projection.weight")
    )
    has_decoder = any(key.startswith("neck.") for key in source.state)
    if weight is None or patch is None or has_decoder:
        return
    if weight.shape[0] != patch[0].numel():
        raise InputError(
            f"{source.path} looks like a classifier's: its head.fc gives {weight.shape[0]} "
            f"values, but a patch has {patch[0].numel()}, and it has no query stream. Say "
            "--part backbone for its backbone."
        )
