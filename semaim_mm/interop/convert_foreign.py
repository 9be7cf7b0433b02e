"""Converting the backbone of any family: to our names, to timm's, to the authors'.

The reader of every run reads here too, so what converts is what loads; conventions that weights do
not hold, and how positions lay, travel in the file's meta.
"""

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from semaim_mm.errors import InputError
from semaim_mm.interop import mmpretrain_names
from semaim_mm.interop.backbone_file import BackboneFile, backbone_of
from semaim_mm.interop.checkpoint_file import read_file
from semaim_mm.interop.conversion import Conversion, Row
from semaim_mm.interop.families import locate
from semaim_mm.interop.renaming import TABLE
from semaim_mm.interop.timm_names import to_timm

_ALGORITHM = ("query_blocks.", "prediction_head.")


def read_foreign(path: str | Path, wanted: bool = False) -> BackboneFile | None:
    """-> the backbone in ``path``, None where it is SemAIM's or mmpretrain's in the plain names.

    With ``wanted`` those are read too.
    """
    content = read_file(path)
    if not isinstance(content, Mapping):
        return None
    try:
        located = locate(content, path)
    except InputError:
        if wanted:
            raise
        return None
    if wanted:
        return backbone_of(content, path)
    if located.scheme.marker == mmpretrain_names.MARKER:
        plain = mmpretrain_names.is_plain(located.state)
    else:
        plain = any(key.startswith(_ALGORITHM) for key in located.state)
    return None if plain else backbone_of(content, path)


def convert_foreign(file: BackboneFile, out: Path, to: str) -> Conversion:
    """-> the backbone in the names of ``to``; every key of the file is accounted for.

    Raises:
        InputError: something that ``to`` has no place for, or nothing to change.
    """
    state = _rename(file, to)
    rows = []
    for old, ours in file.names.items():
        if ours is None:
            rows.append(Row(old, None, "not part of the backbone"))
            continue
        for new in _names_in(file, ours, to):
            rows.append(Row(old, new))
    named = {row.new for row in rows}
    rows += [Row(None, key, "the file has none, so zeros") for key in state if key not in named]
    same_format = (out.suffix == ".safetensors") == _is_safetensors(file.path)
    prefix = file.origin.prefix
    bare = prefix in ("", "state_dict.", "model.")
    if same_format and bare and set(state) == {key.removeprefix(prefix) for key in file.names}:
        raise InputError(
            f"{file.path} already holds just these names in this format, so nothing would change; "
            "say another --to, or give OUT another suffix."
        )
    title = f"{file.origin.family} -> {to}, the backbone alone"
    return Conversion(title, rows, state, {"origin": file.origin.note()}, (str(file.origin),))


def _rename(file: BackboneFile, to: str) -> dict[str, Tensor]:
    if to == "mmpretrain":
        return dict(file.state)
    if to == "timm":
        return to_timm(file.state, file.origin.layout)
    _refuse_for_authors(file)
    return to_timm(file.state, dict(positions="all"))


def _names_in(file: BackboneFile, ours: str, to: str) -> list[str]:
    """One of our names -> its names in ``to``; several where that splits it."""
    if to == "mmpretrain":
        return [ours]
    layout = file.origin.layout if to == "timm" else dict(positions="all")
    table = file.state["pos_embed"]
    if ours == "pos_embed":
        return ["pos_embed"]
    renamed = to_timm({ours: file.state.get(ours, table), "pos_embed": table}, layout)
    return [name for name in renamed if name != "pos_embed"]


def _refuse_for_authors(file: BackboneFile) -> None:
    """The authors' ViT is a plain one; what it has no place for is refused by name."""
    traits = {
        "layers.0.attn.gamma1.weight": "LayerScale",
        "register_tokens": "register tokens",
        "pre_norm.weight": "a norm before the blocks",
        "ln2.weight": "a norm after pooling",
        f"layers.0.attn.{TABLE}": "relative-position bias",
    }
    has = [name for key, name in traits.items() if key in file.state]
    lacks = [
        k for k in ("cls_token", "ln1.weight", "layers.0.attn.qkv.bias") if k not in file.state
    ]
    origin = file.origin
    if origin.norm_eps != 1e-6:
        has.append(f"LayerNorm eps {origin.norm_eps:g}")
    if origin.activation != "gelu":
        has.append(f"{origin.activation} as activation")
    if has or lacks:
        raise InputError(
            f"{file.path} ({origin.family}) can't be written in the authors' names, whose ViT is a "
            "plain one: "
            + "; ".join([*(f"it has {name}" for name in has), *(f"it has no {k}" for k in lacks)])
            + ". Say --to mmpretrain or timm."
        )


def _is_safetensors(path: str) -> bool:
    with Path(path).open("rb") as file:
        return file.read(2) not in (b"PK", b"\x80\x02")
