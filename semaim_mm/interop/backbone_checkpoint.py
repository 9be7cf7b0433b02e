"""Loading a backbone from a checkpoint, strictly: a key that finds no weight stops the run."""

from collections.abc import Sequence
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, NamedTuple

import torch
from mmengine.logging import print_log
from mmpretrain.models.utils import resize_pos_embed
from torch import Tensor, nn

from semaim_mm.errors import InputError
from semaim_mm.interop.backbone_file import BackboneFile, Origin, read_backbone
from semaim_mm.interop.conventions import ACTIVATIONS
from semaim_mm.interop.fit_tables import fit_tables
from semaim_mm.interop.patch_resample import resample_patches
from semaim_mm.interop.refusals import describe, group_by_prefix
from semaim_mm.interop.renaming import TABLE
from semaim_mm.pos_embed import regrow_sincos

# what follows the tokens that are taken need not be in the model that takes them
_AFTER_TOKENS = ("ln1.*", "ln2.*")
ALWAYS_FRESH = "ln2.*"


class Coverage(NamedTuple):
    """How a checkpoint met a backbone: keys loaded, new (as configured), and left over."""

    matched: int
    new: tuple[str, ...]
    unused: tuple[str, ...]
    origin: Origin | None = None
    changed: tuple[str, ...] = ()
    pretrained_on: str | None = None  # as a config states it

    def __str__(self) -> str:
        left = f", {len(self.unused)} of the file unused" if self.unused else ""
        left += f" ({', '.join(self.unused)})" if self.unused else ""
        new = f", {len(self.new)} new ({', '.join(self.new)})" if self.new else ""
        lines = [f"{self.matched} backbone weights loaded{new}{left}", *self.changed]
        return "; ".join(lines if self.origin is None else [*lines, str(self.origin)])

    def record(self) -> dict[str, Any]:
        """-> plain values for a result file."""
        plain = self._asdict()
        return plain if self.origin is None else plain | dict(origin=self.origin._asdict())


class Fitting(NamedTuple):
    """What may be done to weights so that they fit; see ``load_backbone_weights``."""

    resample_patch: bool = False
    regrow_sincos: bool = False


AS_IT_IS = Fitting()


def load_backbone_weights(
    backbone: nn.Module,
    path: str | Path,
    new_keys: Sequence[str] = (),
    resample_patch: bool = False,
    regrow_sincos: bool = False,
    pretrained_on: str | None = None,
    **told: Any,
) -> Coverage:
    """Load ``path``, of any family that interop knows, into a SemAIMViT in place.

    Position tables and relative-position tables (BEiT's, shared, decomposed) of another grid are
    interpolated.

    Args:
        new_keys: names or patterns of backbone weights that the file need not have. Those that it
            has are loaded, but for the norm after mean pooling, 'ln2.*', which starts fresh.
        resample_patch: make the patch embedding fit another patch size (14 -> 16); without it
            another size is refused.
        regrow_sincos: on another grid compute a sin-cos position table anew, in the axis order
            that it is recognised in; a learned table is interpolated.
        pretrained_on: the data set that the weights come from, where their file does not say; it
            is recorded and changes nothing.
        **told: what ``read_backbone`` takes: prefix, grid, norm_eps, activation, num_heads, mean,
            std.

    Raises:
        InputError: a backbone weight that the file does not have and ``new_keys`` does not name, a
            weight of the file that the backbone has no place for, a weight of another shape, a
            LayerNorm epsilon, activation or head count other than the checkpoint's, or a
            ``new_keys`` pattern that names nothing.
    """
    file = read_backbone(path, hint=tuple(backbone.patch_resolution), **told)
    coverage = fill_backbone(backbone, file, new_keys, Fitting(resample_patch, regrow_sincos))
    return coverage._replace(pretrained_on=pretrained_on)


def fill_backbone(
    backbone: nn.Module,
    file: BackboneFile,
    new_keys: Sequence[str] = (),
    how: Fitting = AS_IT_IS,
) -> Coverage:
    """Put a file's weights into a SemAIMViT; see ``load_backbone_weights``."""
    own = backbone.state_dict()
    state, changed = _fit(backbone, file, how)
    allowed = _fresh(own, new_keys)
    fresh = {key for key in allowed if key not in state or fnmatch(key, ALWAYS_FRESH)}
    wanted = {key: state[key] for key in own if key in state and key not in fresh}
    missing = [key for key in own if key not in wanted and key not in fresh]
    if missing:
        raise InputError(
            f"{file.path} lacks {len(missing)} of the backbone's {len(own)} weights "
            f"({describe(missing)}); it has {describe(state)}. Nothing was loaded: name another "
            "checkpoint, set the config as the checkpoint needs it, or list weights that are meant "
            "to start fresh in new_keys."
        )
    unused = [key for key in state if key not in wanted and key not in fresh]
    _refuse_unused(backbone, file, unused)
    _check_conventions(backbone, file)
    try:
        backbone.load_state_dict(wanted, strict=False)
    except RuntimeError as error:
        raise InputError(
            f"{file.path} does not fit the backbone: "
            + "; ".join(line.strip() for line in str(error).splitlines()[1:4])
            + " Choose the arch, patch_size and img_size that the checkpoint was made with."
        ) from error
    if file.origin.layout.get("positions") == "none":
        backbone.pos_embed.requires_grad_(False)
        changed.append("it has no position table, so pos_embed stays zero and fixed")
    coverage = Coverage(
        len(wanted), tuple(sorted(fresh)), tuple(sorted(unused)), file.origin, tuple(changed)
    )
    print_log(f"{file.path}: {coverage}", logger="current")
    return coverage


def _fresh(own: dict[str, Tensor], new_keys: Sequence[str]) -> set[str]:
    for pattern in new_keys:
        if not any(fnmatch(key, pattern) for key in own):
            raise InputError(
                f"new_keys names {pattern!r}, but the backbone has no such weight; its names begin "
                f"with {', '.join(group_by_prefix(own))}."
            )
    return {key for key in own if any(fnmatch(key, pattern) for pattern in new_keys)}


def _fit(
    backbone: nn.Module, file: BackboneFile, how: Fitting
) -> tuple[dict[str, Tensor], list[str]]:
    """-> the file's weights on the backbone's grid and patch size, and what was changed for it."""
    state, changed = dict(file.state), []
    old, new = file.patch_size, backbone.patch_size
    if old != new:
        if not how.resample_patch:
            raise InputError(
                f"{file.path} was trained with patches of {old} pixels, the backbone has {new}. "
                f"Set patch_size={old} (images are padded to its multiples), or say "
                f"resample_patch=True in init_cfg to resample the patch embedding to {new}."
            )
        weight = state["patch_embed.projection.weight"]
        state["patch_embed.projection.weight"] = resample_patches(weight, new)
        changed.append(f"patch embedding resampled from {old} to {new} pixels")
    changed += _leave_extra_tokens(backbone, state, file.grid)
    changed += _fit_positions(backbone, state, file.grid, how.regrow_sincos)
    changed += fit_tables(backbone, state, file.grid)
    return state, changed


def _leave_extra_tokens(backbone: nn.Module, state: dict, grid: tuple[int, int]) -> list[str]:
    """Take CLS, and before windows registers too, out of a state whose backbone has none."""
    left = []
    if backbone.cls_token is None and state.pop("cls_token", None) is not None:
        state["pos_embed"] = state["pos_embed"][:, 1:]
        left.append("CLS left out, as with_cls_token=False wants")
    if backbone.windows.active and state.pop("register_tokens", None) is not None:
        state["pos_embed"] = state["pos_embed"][:, -grid[0] * grid[1] :]
        left.append("registers left out, as windows attend to patches only")
    return left


def _fit_positions(
    backbone: nn.Module, state: dict, old: tuple[int, int], regrow: bool
) -> list[str]:
    new, table = tuple(backbone.patch_resolution), state["pos_embed"]
    if old == new:
        return []
    sizes = " to ".join(f"{rows} x {columns}" for rows, columns in (old, new))
    regrown = regrow_sincos(table, old, new) if regrow else None
    if regrown is not None:
        state["pos_embed"] = regrown
        return [f"sin-cos positions computed anew from {sizes} patches"]
    extra = table.shape[1] - old[0] * old[1]
    state["pos_embed"] = resize_pos_embed(table, old, new, backbone.interpolate_mode, extra)
    return [f"positions interpolated from {sizes} patches"]


def _refuse_unused(backbone: nn.Module, file: BackboneFile, unused: Sequence[str]) -> None:
    bad = [key for key in unused if not any(fnmatch(key, p) for p in _AFTER_TOKENS)]
    # a norm left behind is named; one that the backbone's own tokens would need is missing above
    if bad:
        raise InputError(
            f"{file.path} has {len(bad)} weights that the backbone has no place for "
            f"({describe(bad)}), so its features would be others. Nothing was loaded: build the "
            "backbone with semaim_mm.interop.load_backbone, or set "
            + (_remedy(bad, backbone.num_layers) or "the arch that the checkpoint was made with")
            + "."
        )


def _remedy(keys: Sequence[str], depth: int) -> str:
    """-> the arguments of SemAIMViT that give these weights their place, '' for blocks too many."""
    if any(key.startswith(f"layers.{depth}.") for key in keys):
        return ""
    arguments = {
        "pre_norm.*": "pre_norm=True",
        "*.gamma*.weight": "layer_scale_init_value=1e-5",
        "register_tokens": "num_registers=...",
        f"*{TABLE}": "rel_pos_bias=True",
        "*.rel_pos_[hw]": "windows=dict(rel_pos='decomposed') with the checkpoint's windows",
        "rel_pos_shared.*": "windows=dict(rel_pos='shared') with the checkpoint's windows",
        "patch_embed.projection.bias": "patch_cfg=dict(bias=True)",
        "*.qkv.bias": "qkv_bias=True",
    }
    fits = [argument for p, argument in arguments.items() if any(fnmatch(k, p) for k in keys)]
    return ", ".join(fits)


def _check_conventions(backbone: nn.Module, file: BackboneFile) -> None:
    """Refuse a backbone whose LayerNorm epsilon, activation or heads are not the checkpoint's."""
    layer, origin = backbone.layers[0], file.origin
    settings = dict(
        norm_eps=(layer.ln1.eps, f"norm_cfg=dict(type='LN', eps={origin.norm_eps:g})"),
        activation=(
            activation_of(layer.ffn.layers[0][1]),
            f"layer_cfgs=dict(act_cfg={ACTIVATIONS[origin.activation]})",
        ),
        num_heads=(layer.attn.num_heads, f"num_heads={origin.num_heads} in arch"),
    )
    for name, (own, remedy) in settings.items():
        known, source = getattr(origin, name), origin.told_by.get(name)
        if own != known and source not in (None, "its width"):
            raise InputError(
                f"{file.path} ({origin.family}) has {name}={known} by {source}, the backbone "
                f"{own}, so its features would be others. Set {remedy}, or say {name}={own!r} in "
                "init_cfg where you know that the checkpoint was trained so."
            )


def activation_of(module: nn.Module) -> str:
    """An activation module -> its name in ACTIVATIONS."""
    name = type(module).__name__
    if isinstance(module, torch.nn.GELU):
        return "gelu_tanh" if module.approximate == "tanh" else "gelu"
    return {"QuickGELU": "quick_gelu", "ReLU": "relu"}.get(name, name)
