"""Facts in the ``config.json`` that Hugging Face's hub and timm ship beside a weights file."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from semaim_mm.errors import InputError

_ACTIVATIONS = {
    "gelu": "gelu",
    "quick_gelu": "quick_gelu",
    "gelu_pytorch_tanh": "gelu_tanh",
    "gelu_new": "gelu_tanh",
    "relu": "relu",
}


def facts_beside(path: str | Path, width: int, depth: int) -> dict[str, Any]:
    """A weights file -> what its folder's config.json states; {} where there is none that fits.

    A config of another width or depth belongs to another file, and is not read.
    """
    folder = Path(path).parent
    config = _read(folder / "config.json")
    if "architecture" in config:
        return _timm_facts(config, width, depth)
    tower = config.get("vision_config", config)
    if (tower.get("hidden_size"), tower.get("num_hidden_layers")) != (width, depth):
        return {}
    act = tower.get("hidden_act")
    facts = dict(
        norm_eps=tower.get("layer_norm_eps"),
        num_heads=tower.get("num_attention_heads"),
        activation=_ACTIVATIONS.get(act, act),
    )
    processing = _read(folder / "preprocessor_config.json")
    if processing.get("do_normalize", True):
        for name in ("mean", "std"):
            values = processing.get(f"image_{name}")
            facts[name] = [255 * v for v in values] if values else None
    return {key: value for key, value in facts.items() if value is not None}


def _read(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(
            f"{path} beside the weights is not readable JSON ({error}); mend it, or move the "
            "weights to a folder of their own."
        ) from error
    return content if isinstance(content, Mapping) else {}


def _timm_facts(config: Mapping[str, Any], width: int, depth: int) -> dict[str, Any]:
    """timm names a model of its registry: built without storage, it tells everything."""
    import timm
    import torch
    from timm.models.beit import Beit
    from timm.models.vision_transformer import Block, VisionTransformer

    name = config["architecture"]
    if not timm.is_model(name):
        return {}
    try:
        with torch.device("meta"):
            model = timm.create_model(name, pretrained=False, **config.get("model_args", {}))
    except (TypeError, RuntimeError, ValueError):
        return {}
    plain = isinstance(model, Beit) or (
        isinstance(model, VisionTransformer) and type(model.blocks[0]) is Block
    )
    if not plain:
        raise InputError(
            f"config.json beside the weights names timm's {name}, which is no plain ViT "
            f"({type(model).__name__}) and can't be represented exactly; nothing was loaded."
        )
    if (model.embed_dim, len(model.blocks)) != (width, depth):
        return {}
    act = model.blocks[0].mlp.act
    tanh = getattr(act, "approximate", "none") == "tanh" or type(act).__name__ == "GELUTanh"
    kind = {"GELU": "gelu", "QuickGELU": "quick_gelu", "ReLU": "relu"}.get(type(act).__name__)
    cfg = {**model.pretrained_cfg, **config.get("pretrained_cfg", {})}
    return dict(
        norm_eps=model.blocks[0].norm1.eps,
        num_heads=model.blocks[0].attn.num_heads,
        activation="gelu_tanh" if tanh else kind or type(act).__name__,
        mean=[255 * v for v in cfg["mean"]],
        std=[255 * v for v in cfg["std"]],
    )
