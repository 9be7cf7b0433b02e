"""Do the parts of a SemAIM fit each other? Asked once, when it is built."""

from torch import nn

from semaim_mm.errors import InputError

SIMILARITY_FROM = ("online", "ema", "target")


def target_widths(target_generator: nn.Module, head: dict) -> dict:
    """What a head takes from the target: one width, or those of several targets."""
    is_multi, kind = hasattr(target_generator, "widths"), head.get("type")
    if kind == ("SemAIMHead" if is_multi else "MultiHead"):
        raise InputError(
            f"{type(target_generator).__name__} and the head {kind} do not fit: MultiTarget and "
            "MultiHead go together."
        )
    several = getattr(target_generator, "widths", None)
    return dict(out_dims=target_generator.out_dims) if several is None else dict(widths=several)


def check_parts(model: nn.Module, ema: dict | None) -> None:
    """Raise InputError where the parts of a SemAIM, or its keys, do not fit each other."""
    width, depth = model.backbone.embed_dims, model.backbone.num_layers
    if model.backbone.cls_token is None:
        raise InputError(
            "SemAIM pretrains a backbone with a CLS token; leave with_cls_token at True."
        )
    if model.cls_last and model.backbone.register_tokens is None:
        raise InputError(
            "With cls_last=True the first patch is predicted from registers, and the backbone "
            "has none; set num_registers=1."
        )
    if not isinstance(model.backbone.pre_norm, nn.Identity):
        raise InputError(
            "SemAIM pretrains a backbone without a norm before its blocks; leave pre_norm at False."
        )
    for part in (model.neck, model.head):
        if part.embed_dims != width:
            raise InputError(
                f"{type(part).__name__} has embed_dims={part.embed_dims}, the backbone "
                f"{width}; give both the same."
            )
    if model.neck.depth != depth:
        raise InputError(
            f"SemAIMDecoder has depth={model.neck.depth}, but the backbone has {depth} blocks; "
            "set the decoder's depth to the backbone's."
        )
    if model.head.out_dims != model.target_generator.out_dims:
        raise InputError(
            f"SemAIMHead predicts {model.head.out_dims} values a patch, but "
            f"{type(model.target_generator).__name__} has {model.target_generator.out_dims}; "
            "set the head's out_dims to the target's width."
        )
    if getattr(model.target_generator, "patch_size", model.backbone.patch_size) != (
        model.backbone.patch_size
    ):
        raise InputError(
            f"The target cuts patches of {model.target_generator.patch_size} pixels, the "
            f"backbone of {model.backbone.patch_size}; give both the same patch_size."
        )
    if model.similarity_from not in SIMILARITY_FROM:
        raise InputError(
            f"similarity_from={model.similarity_from!r} is none of "
            f"{', '.join(SIMILARITY_FROM)}; choose one."
        )
    if model.similarity_from == "ema" and ema is None:
        raise InputError(
            "similarity_from='ema' needs an averaged copy of the backbone: set ema=dict()."
        )
    if getattr(model.target_generator, "reads", None) == "ema" and ema is None:
        raise InputError(
            f"{type(model.target_generator).__name__} predicts tokens of an averaged copy of "
            "the backbone, and there is none: set ema=dict()."
        )
    if model.similarity_from == "target" and model.order.similarity is not None:
        _check_target_map(model, model.order.similarity)


def _check_target_map(model: nn.Module, source: str) -> None:
    gives_tokens = getattr(model.target_generator, "gives_tokens", True)
    if source == "self" or not gives_tokens:
        offers = "tokens, not attention" if gives_tokens else "no tokens"
        raise InputError(
            f"similarity_from='target' can't give the map {source!r}: "
            f"{type(model.target_generator).__name__} offers {offers}; choose similarity 'cls' "
            "or 'gap' and a teacher, or another source."
        )
