"""What travels with weights but is not in them: LayerNorm's epsilon, activation, heads, mean, std.

A state dict tells none of these, so each is known, in this order, from: what the caller says, the
note of our converter, the config text that OpenMMLab saves, the ``config.json`` that a hub ships
beside the weights, the table of families below.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from semaim_mm.errors import InputError

FACTS = ("norm_eps", "activation", "num_heads", "mean", "std")

ACTIVATIONS = {
    "gelu": dict(type="GELU"),
    "gelu_tanh": dict(type="GELU", approximate="tanh"),
    "quick_gelu": dict(type="mmpretrain.QuickGELU"),
    "relu": dict(type="ReLU"),
}

_IMAGENET = dict(mean=(123.675, 116.28, 103.53), std=(58.395, 57.12, 57.375))
_HALF = dict(mean=(127.5, 127.5, 127.5), std=(127.5, 127.5, 127.5))
_CLIP = dict(
    mean=(122.7709383, 116.7460125, 104.09373615), std=(68.5005327, 66.6321579, 70.32316305)
)


def _row(norm_eps: float, activation: str, preprocessing: Mapping[str, Any]) -> dict[str, Any]:
    return dict(norm_eps=norm_eps, activation=activation, **preprocessing)


# mean and std are those of pixels in 0..255, RGB
CONVENTIONS = {
    "SemAIM (authors)": _row(1e-6, "gelu", _IMAGENET),
    "mmpretrain": _row(1e-6, "gelu", _IMAGENET),
    "mmpretrain MoCo v3": _row(1e-6, "gelu", _IMAGENET),
    "mmpretrain BEiT": _row(1e-6, "gelu", _HALF),  # BEiT v2: ImageNet's
    "mmpretrain CLIP": _row(1e-5, "quick_gelu", _CLIP),
    "MAE": _row(1e-6, "gelu", _IMAGENET),
    "DINO": _row(1e-6, "gelu", _IMAGENET),
    "iBOT": _row(1e-6, "gelu", _IMAGENET),
    "DINOv2": _row(1e-6, "gelu", _IMAGENET),
    "MoCo v3": _row(1e-6, "gelu", _IMAGENET),
    "BEiT": _row(1e-6, "gelu", _HALF),  # BEiT v2: ImageNet's
    "timm": _row(1e-6, "gelu", _IMAGENET),  # AugReg's weights: half
    "timm CLIP": _row(1e-5, "quick_gelu", _CLIP),  # open_clip's own trainings: gelu
    "timm SigLIP": _row(1e-6, "gelu", _HALF),
    "OpenAI CLIP": _row(1e-5, "quick_gelu", _CLIP),
    "Hugging Face ViT": _row(1e-12, "gelu", _HALF),
    "Hugging Face DeiT": _row(1e-12, "gelu", _IMAGENET),
    "Hugging Face ViTMAE": _row(1e-12, "gelu", _IMAGENET),
    "Hugging Face DINOv2": _row(1e-6, "gelu", _IMAGENET),
    "Hugging Face BEiT": _row(1e-12, "gelu", _HALF),
    "Hugging Face CLIP": _row(1e-5, "quick_gelu", _CLIP),
    "Hugging Face SigLIP": _row(1e-6, "gelu_tanh", _HALF),
}

# heads of the sizes in use, by width; ViT-H and larger don't have heads of 64
_HEADS = {192: 3, 384: 6, 512: 8, 768: 12, 1024: 16, 1152: 16, 1280: 16, 1408: 16, 1664: 16}


class Fact(NamedTuple):
    """A value, and where it is known from."""

    value: Any
    source: str


def settle(family: str, state: Mapping, *sources: tuple[str, Mapping[str, Any]]) -> dict[str, Fact]:
    """-> every known fact; heads may be unknown. Later ``sources`` (name, values) win."""
    facts = {key: Fact(value, "its family") for key, value in CONVENTIONS[family].items()}
    heads = _heads(family, state)
    if heads is not None:
        facts["num_heads"] = heads
    for name, values in sources:
        facts.update({k: Fact(_plain(v), name) for k, v in values.items() if v is not None})
    _check(facts)
    return facts


def _heads(family: str, state: Mapping) -> Fact | None:
    tables = [v for k, v in state.items() if k.endswith("relative_position_bias_table")]
    if tables:
        return Fact(tables[0].shape[1], "its relative-position table")
    width = state["patch_embed.projection.weight"].shape[0]
    if "MoCo v3" in family and width == 384:
        return Fact(12, "its family")  # MoCo v3's ViT-S has heads of 32
    heads = _HEADS.get(width, width // 64 if width % 64 == 0 else None)
    return None if heads is None else Fact(heads, "its width")


def _plain(value: Any) -> Any:
    return tuple(float(v) for v in value) if isinstance(value, (list, tuple)) else value


def _check(facts: Mapping[str, Fact]) -> None:
    activation, source = facts["activation"]
    if activation not in ACTIVATIONS:
        raise InputError(
            f"The activation {activation!r} (by {source}) can't be represented here; known are "
            f"{', '.join(ACTIVATIONS)}. Nothing was loaded."
        )
    if not 0 < facts["norm_eps"].value < 1e-2:
        raise InputError(f"norm_eps={facts['norm_eps'].value} is no epsilon of a LayerNorm.")
    for name in ("mean", "std"):
        value, source = facts[name]
        if len(value) != 3 or (name == "std" and min(value) <= 0) or max(value) > 255:
            raise InputError(
                f"{name}={value} (by {source}) is not three numbers of pixels in 0..255; "
                f"ImageNet's is {_IMAGENET[name]}."
            )
        if 0 < max(value) <= 1:
            raise InputError(
                f"{name}={value} (by {source}) looks like a scale of 0..1; give it times 255."
            )
