"""Layer-wise learning-rate decay, one rule for classifier, detector and segmenter.

A parameter of block i of N learns at lr * rate ** (N - i), the stem (patches, tokens, positions)
at lr * rate ** (N + 1), and what follows the blocks, neck and heads included, at lr.
"""

from collections.abc import Callable
from difflib import get_close_matches
from functools import partial
from numbers import Real

from mmengine.registry import OPTIM_WRAPPER_CONSTRUCTORS
from mmpretrain.engine.optimizers import LearningRateDecayOptimWrapperConstructor
from torch import nn

from semaim_mm.errors import InputError
from semaim_mm.runtime.param_groups import FusedOptimizer, merge_groups

KEYS = (
    "layer_decay_rate",
    "norm_decay_mult",
    "bias_decay_mult",
    "flat_decay_mult",
    "custom_keys",
)
NO_DECAY = ("cls_token", "pos_embed", "register_tokens", "relative_position_bias_table")


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class LayerDecayConstructor(FusedOptimizer, LearningRateDecayOptimWrapperConstructor):
    """mmpretrain's constructor for any model with a ``backbone``, with few parameter groups.

    Beside mmpretrain's rules:
    - the depth of a parameter is asked of ``model.backbone`` where the model itself can't tell;
    - tokens and position tables (a part of the name is in ``NO_DECAY``, or starts with
      ``rel_pos``) have no weight decay, unless ``custom_keys`` names them;
    - parameters with equal learning rate and weight decay form one group, in the model's order,
      their names under ``param_names``; one that has several names is taken once, by the first;
    - frozen parameters are left out.

    Args:
        optim_wrapper_cfg: mmengine's; its optimizer needs ``lr`` and ``weight_decay``.
        paramwise_cfg: ``layer_decay_rate`` (0 to 1, default 1), ``norm_decay_mult``,
            ``bias_decay_mult``, ``flat_decay_mult``, and ``custom_keys``, which maps a part of a
            parameter's name to ``dict(decay_mult=...)``; the longest part that fits counts.

    Raises:
        InputError: another key, a rate or factor that makes no sense, an optimizer without lr or
            weight decay, a model without a backbone that knows its depth, nothing to train.
    """

    def _validate_cfg(self) -> None:
        for key in ("lr", "weight_decay"):
            if self.optimizer_cfg.get(key) is None:
                raise InputError(
                    f"LayerDecayConstructor scales the optimizer's lr and weight_decay, but "
                    f"optim_wrapper.optimizer has no {key}; set it."
                )
        super()._validate_cfg()
        check_paramwise_cfg(self.paramwise_cfg)
        # mmengine would not ask for groups at all with an empty paramwise_cfg
        self.paramwise_cfg = dict(layer_decay_rate=1.0) | self.paramwise_cfg

    def add_params(
        self,
        params: list[dict],
        module: nn.Module,
        prefix: str = "",
        get_layer_depth: Callable[[str], tuple[int, int]] | None = None,
        **kwargs,
    ) -> None:
        """Append ``module``'s parameter groups to ``params``; merged at the root (no prefix)."""
        if prefix:
            start = len(params)
            super().add_params(params, module, prefix, get_layer_depth, **kwargs)
            self._spare_tokens(params[start:])
            return
        singles = []
        super().add_params(singles, module, "", get_layer_depth or layer_depth_of(module), **kwargs)
        if not singles:
            raise InputError(
                f"LayerDecayConstructor: no parameter of {type(module).__name__} trains, all are "
                "frozen; leave a head or a stage of the backbone trainable."
            )
        self._spare_tokens(singles)
        params.extend(
            merge_groups(
                singles,
                lambda single: {key: single[key] for key in ("lr", "lr_scale", "weight_decay")},
                lambda single: single["param_name"],
            )
        )

    def _spare_tokens(self, groups: list[dict]) -> None:
        """No weight decay for tokens and position tables that ``custom_keys`` doesn't name."""
        custom_keys = self.paramwise_cfg.get("custom_keys", {})
        for group in groups:
            name = group["param_name"]
            if escapes_decay(name) and not any(key in name for key in custom_keys):
                group["weight_decay"] = 0.0


def escapes_decay(name: str) -> bool:
    """Whether a parameter of this dotted name is a token or a position table."""
    return any(part in NO_DECAY or part.startswith("rel_pos") for part in name.split("."))


def layer_depth_of(model: nn.Module) -> Callable[[str], tuple[int, int]]:
    """-> a function from a parameter's name to its layer and the number of layers.

    Raises InputError where neither the model nor its backbone has ``get_layer_depth``.
    """
    backbone = getattr(model, "backbone", None)
    knows = hasattr(backbone, "get_layer_depth")
    if hasattr(model, "get_layer_depth") and (knows or backbone is None):
        return model.get_layer_depth
    if knows:
        return partial(backbone.get_layer_depth, prefix="backbone.")
    missing = (
        "has no backbone"
        if backbone is None
        else f"has a backbone, {type(backbone).__name__}, that has no get_layer_depth"
    )
    raise InputError(
        f"LayerDecayConstructor must know the block that a parameter belongs to, but "
        f"{type(model).__name__} {missing}; use a backbone such as SemAIMViT, or mmengine's "
        "DefaultOptimWrapperConstructor without layer decay."
    )


def check_paramwise_cfg(cfg: dict) -> None:
    """Raise InputError for a key that would be ignored, or a value that makes no sense."""
    for key in cfg:
        if key not in KEYS:
            raise InputError(
                f"LayerDecayConstructor knows no paramwise_cfg key {key!r}"
                f"{_advice(key)}; its keys are {', '.join(KEYS)}."
            )
    rate = cfg.get("layer_decay_rate", 1.0)
    if not isinstance(rate, Real) or not 0 < rate <= 1:
        raise InputError(
            f"LayerDecayConstructor: layer_decay_rate={rate!r} must be above 0 and at most 1 (1 is "
            "no decay); 0.65 to 0.8 are usual."
        )
    factors = {key: cfg[key] for key in KEYS[1:4] if cfg.get(key) is not None}
    for part, settings in cfg.get("custom_keys", {}).items():
        if not isinstance(settings, dict) or set(settings) != {"decay_mult"}:
            raise InputError(
                f"LayerDecayConstructor: custom_keys[{part!r}] is {settings!r}, but it sets "
                "decay_mult and nothing else, as dict(decay_mult=0.0); learning rates come from "
                "layer_decay_rate."
            )
        factors[f"custom_keys[{part!r}].decay_mult"] = settings["decay_mult"]
    for key, factor in factors.items():
        if not isinstance(factor, Real) or factor < 0:
            raise InputError(
                f"LayerDecayConstructor: {key}={factor!r} must be a number, 0 or above, that "
                "multiplies the weight decay."
            )


def _advice(key: str) -> str:
    if key in ("decay_rate", "num_layers", "decay_type"):
        return (
            " (mmdet's and mmseg's); write decay_rate as layer_decay_rate, and leave out the "
            "number of layers, which the backbone tells"
        )
    close = get_close_matches(key, KEYS, n=1)
    return f" (is {close[0]} meant?)" if close else ""
