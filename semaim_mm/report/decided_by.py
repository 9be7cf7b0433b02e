"""What decides a score, in eight plain words: for readers of one result, who won't walk a config.

The protocol (runtime/evaluate.py) has the same facts whole, and the fingerprint is made of it; the
one exception is how a checkpoint was trained, which its own record tells better than the config
that tests it.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from semaim_mm.arch import settle_arch

PLAIN = "LayerNorm without affine"
PRETRAINED = "pretrained norm"
KEPT_HALF = ", tokens kept in fp16"  # transfer/features.py: they would not fit in memory otherwise
# what changes the part of a picture that is seen, or its size
GEOMETRY = (
    "CenterCrop",
    "LoadCrop",
    "Pad",
    "RandomCrop",
    "RandomResize",
    "RandomResizedCrop",
    "Resize",
    "ResizeEdge",
    "TestTimeAug",
)


def decided_by(
    protocol: Mapping[str, Any],
    backbone: Mapping[str, Any],
    training: Mapping[str, Any] | None,
    chosen: Mapping[str, Any],
) -> dict[str, Any]:
    """A result's parts -> pooling, layer, norm, crop, resolution, precision, batch, effective_lr.

    Args:
        protocol: the result's, as ``protocol_of`` gives it.
        backbone: the resolved config's ``model.backbone``.
        training: what the tested checkpoint says of its training; read only where the protocol
            itself trains, since frozen features come with the record of their pretraining.
        chosen: what the protocol chose by itself (feature, learning rate), {} where nothing.

    Returns:
        ``layer``: block or blocks counted from 0. ``crop`` and ``precision``: by 'train' and
        'test'. ``resolution``: height and width in pixels that the network is given at test time.
        ``batch``: images in an update. ``pretraining_data`` too where the protocol names it.
        None: there is no such thing in this protocol, or the checkpoint has no record of it.
    """
    frozen = protocol["model"].get("type") == "FeatureModel"
    settle = _frozen if frozen else _of_dense if _is_dense(protocol) else _of_classifier
    pooling, layer, norm = settle(protocol, backbone, chosen)
    batch, rate = _schedule(protocol, training, chosen)
    trained = protocol["training"] is not None
    fitted_on = protocol["train_data"] if trained else protocol["bank_data"]
    named = {k: protocol[k] for k in ("pretraining_data",) if k in protocol}
    return named | dict(
        pooling=pooling,
        layer=layer,
        norm=norm,
        crop=dict(train=_crop(fitted_on), test=_crop(protocol["test_data"])),
        resolution=_resolution(protocol, backbone),
        precision=dict(
            train=(training or {}).get("precision") if trained else None,
            test=protocol["test_precision"] + (KEPT_HALF if pooling == "attentive" else ""),
        ),
        batch=batch,
        effective_lr=rate,
    )


def _is_dense(protocol: Mapping[str, Any]) -> bool:
    return protocol["backbone"].get("out_type") == "featmap"


def _frozen(protocol: Mapping, backbone: Mapping, chosen: Mapping) -> tuple[str, Any, str | None]:
    if backbone.get("type") == "RawPixels":
        return "pixels", None, None
    model, depth = protocol["model"], _depth(backbone)
    # the headline is the first feature's where a protocol chooses none
    layer, pooling = min(layer % depth for layer in model["layers"]), model["poolings"][0]
    if "feature" in chosen:
        block, pooling = chosen["feature"].split(".")
        layer = int(block.removeprefix("layer"))
    normed = layer == depth - 1 and backbone.get("final_norm", True)
    cls = PRETRAINED if normed else PLAIN
    norms = dict(
        cls=cls,
        patches=f"{PLAIN} after the mean",
        both=f"CLS: {cls}; mean: {PLAIN}",
        attentive="each channel standardised over the training tokens",
    )
    return pooling, layer, norms[pooling]


def _of_classifier(
    protocol: Mapping, backbone: Mapping, chosen: Mapping
) -> tuple[str, Any, str | None]:
    kind, final = backbone.get("out_type", "cls_token"), backbone.get("final_norm", True)
    norm = PRETRAINED if final else None
    if kind == "avg_featmap":
        fresh = any(key.startswith("ln2") for key in protocol["backbone"]["new_keys"])
        norm = f"{'new' if fresh else 'pretrained'} LayerNorm after the mean"
    neck = protocol["model"].get("neck") or {}
    if isinstance(neck, Mapping) and neck.get("type") == "ClsBatchNormNeck":
        affine = "" if neck.get("affine") else " without affine"
        norm = ", then ".join(filter(None, (norm, f"BatchNorm{affine}")))
    pooling = dict(cls_token="cls", avg_featmap="patches").get(kind, kind)
    return pooling, _layers(backbone), norm


def _of_dense(protocol: Mapping, backbone: Mapping, chosen: Mapping) -> tuple[str, Any, str | None]:
    norm = PRETRAINED if backbone.get("final_norm", True) else None
    return "none: maps", _layers(backbone), norm


def _depth(backbone: Mapping) -> int:
    return settle_arch(backbone.get("arch", "base"))["num_layers"]


def _layers(backbone: Mapping) -> int | list[int]:
    taken = backbone.get("out_indices", -1)
    depth = _depth(backbone)
    return taken % depth if isinstance(taken, int) else [index % depth for index in taken]


def _schedule(
    protocol: Mapping, training: Mapping | None, chosen: Mapping
) -> tuple[int | None, float | None]:
    """-> images in an update, and the learning rate that the linear scaling rule gives them."""
    if protocol["training"] is not None:
        record = training or {}
        rate = record.get("lr")
        if rate is None and record:
            # a recipe that states the rate itself, not per 256 images
            optimizer = (protocol["training"].get("optim_wrapper") or {}).get("optimizer") or {}
            rate = optimizer.get("lr")
        return record.get("total_batch"), rate
    batch = protocol["evaluator"].get("batch_size")
    if batch is None or "base_lr" not in chosen:
        return batch, None
    return batch, chosen["base_lr"] * batch / 256


def _crop(data: Mapping[str, Any] | None) -> list[str] | None:
    """A data set's record -> the steps of its pipeline that choose what is seen, and how large."""
    if data is None:
        return None
    return [_told(step) for step in data["pipeline"] or () if step.get("type") in GEOMETRY]


def _told(step: Mapping[str, Any]) -> str:
    if step["type"] == "TestTimeAug":
        views = 1
        for choices in step["transforms"]:
            views *= len(choices)
        return f"{views} views"
    sizes = (step.get(key) for key in ("crop_size", "scale", "size"))
    size = next((size for size in sizes if size is not None), None)
    ratio = next((step[k] for k in ("crop_ratio_range", "ratio_range") if step.get(k)), None)
    parts = [step["type"], _side(size)]
    if ratio is not None:
        parts.append(f"x {ratio[0]:g} to {ratio[1]:g}")
    return " ".join(filter(None, parts))


def _side(size: int | Sequence[int] | None) -> str:
    if size is None:
        return ""
    return str(size) if isinstance(size, int) else " x ".join(map(str, size))


def _resolution(protocol: Mapping, backbone: Mapping) -> list[int] | None:
    """Sliding window, else padding, else the last crop, else the size the backbone is built for."""
    if backbone.get("type") == "RawPixels":
        return None
    model = protocol["model"]
    test_cfg = model.get("test_cfg") or {}
    if test_cfg.get("mode") == "slide":
        return _pair(test_cfg["crop_size"])
    padded = (model.get("data_preprocessor") or {}).get("pad_size_divisor", 1)
    if padded > 1:
        return _pair(padded)
    steps = protocol["test_data"]["pipeline"] or ()
    crops = [step["crop_size"] for step in steps if step.get("type") == "CenterCrop"]
    return _pair(crops[-1] if crops else backbone.get("img_size", 224))


def _pair(size: int | Sequence[int]) -> list[int]:
    return [size, size] if isinstance(size, int) else list(size)
