"""Top-level config keys, written where data sets, heads, hooks and evaluators read them.

A data set's path, its classes and what to do with its faults are each said once in a config; the
parts that need them are many and differ by library.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from semaim_mm.arch import settle_arch
from semaim_mm.data.held_out import hold_out, innermost
from semaim_mm.errors import InputError

ROBUSTNESS_SETS = ("imagenet-v2", "imagenet-a", "imagenet-r", "imagenet-sketch")
OF_DETECTION_AND_SEGMENTATION = ("CheckedCoco", "CheckedADE20K", "CheckedLabelMaps")


def spread_keys(cfg: Any) -> None:
    """Write these keys of a config, in place, to where they are read.

    Keys:
        data_root: folder of every data set that names none itself, and of COCO's evaluator.
        classes: names of one's own classes, in the order of their labels; sets num_classes.
        num_classes: of every head, and of the batch augmentations.
        bad_annotations: 'stop' or 'drop', of the training set; evaluation always stops.
        tolerated_annotations: kinds of fault that COCO-format sets bear with, in evaluation too.
        unreadable_budget: how many training images that can't be decoded are skipped and counted.
        test_set: one of ROBUSTNESS_SETS: test on that folder beside ``data_root``, only the
            classes it has counted.
        holdout: share of the training set to leave out and to test on, for choosing settings.

    Raises:
        InputError: an unknown choice, classes that are no list.
    """
    if cfg.get("test_set") is not None:
        _use_test_set(cfg, cfg["test_set"])
    if cfg.get("holdout") is not None:
        hold_out(cfg)
    if isinstance(cfg.get("classes"), str):
        raise InputError(
            f"classes={cfg['classes']!r} is one string; give a list of names, "
            "--cfg-options \"classes=['cat','dog']\"."
        )
    if cfg.get("classes") is not None:
        cfg["num_classes"] = len(cfg["classes"])
    for split, dataset in datasets_of(cfg):
        _tell_dataset(cfg, split, dataset)
    _tell_evaluators(cfg)
    _check_widths(cfg["model"])
    budget = cfg.get("unreadable_budget", 0)
    if budget and cfg.get("train_dataloader"):
        cfg.train_dataloader.dataset.skip_unreadable = True
        # the held-out loss is compared with a mean over training images: over those that are left
        loader = (cfg.get("val_cfg") or {}).get("mean_dataloader")
        if loader is not None and loader.dataset.type != "KeyedDataset":
            loader.dataset = dict(type="KeyedDataset", dataset=loader.dataset, skip_unreadable=True)
        for hook in cfg.custom_hooks:
            if hook["type"] == "SkippedImagesHook":
                hook["budget"] = budget
    if cfg.get("num_classes") is not None:
        for head in heads_of(cfg["model"]):
            head["num_classes"] = cfg["num_classes"]


def heads_of(model: Any) -> Iterator[Any]:
    """A model's config -> the parts of it that have a num_classes."""
    roi = model.get("roi_head") or {}
    places = [(model, "head"), (model, "decode_head"), (model, "auxiliary_head")]
    places += [(roi, "bbox_head"), (roi, "mask_head")]
    yield from (holder[name] for holder, name in places if holder.get(name) is not None)
    preprocessor = model.get("data_preprocessor") or {}
    if preprocessor.get("num_classes") is not None:
        yield preprocessor


def datasets_of(cfg: Any) -> Iterator[tuple[str, Any]]:
    """-> (split, the innermost data set) of every loader."""
    for split, loader in loaders_of(cfg):
        yield split, innermost(loader["dataset"])


def loaders_of(cfg: Any) -> Iterator[tuple[str, Any]]:
    """-> (split, loader), those in the loops too: 'bank' is what features are compared with."""
    loaders = [(split, cfg.get(f"{split}_dataloader")) for split in ("train", "val", "test")]
    loaders += [
        ("bank", (cfg.get(part) or {}).get(key))
        for part in ("val_cfg", "test_cfg")
        for key in ("bank_dataloader", "mean_dataloader")
    ]
    yield from ((split, loader) for split, loader in loaders if loader)


def _tell_dataset(cfg: Any, split: str, dataset: Any) -> None:
    dense = dataset["type"] in OF_DETECTION_AND_SEGMENTATION
    if cfg.get("data_root") is not None and (dense or dataset["type"] == "ImageFolder"):
        dataset.setdefault("data_root", cfg["data_root"])
    if dense and cfg.get("classes") is not None:
        dataset.setdefault("metainfo", dict(classes=tuple(cfg["classes"])))
    if dense and split == "train" and cfg.get("bad_annotations") is not None:
        dataset.setdefault("faults", cfg["bad_annotations"])
    if dataset["type"] == "CheckedCoco" and cfg.get("tolerated_annotations"):
        dataset.setdefault("tolerated", list(cfg["tolerated_annotations"]))


def _tell_evaluators(cfg: Any) -> None:
    for split in ("val", "test"):
        evaluator, loader = cfg.get(f"{split}_evaluator"), cfg.get(f"{split}_dataloader")
        if loader and isinstance(evaluator, dict) and evaluator.get("type") == "SampleCoco":
            dataset = innermost(loader["dataset"])
            path = Path(dataset.get("data_root") or "", dataset["ann_file"])
            evaluator.setdefault("ann_file", str(path))


def _check_widths(model: Any) -> None:
    """Refuse a neck, a head, taps or frozen blocks that are those of another backbone."""
    backbone, neck = model.get("backbone") or {}, model.get("neck") or {}
    if backbone.get("out_type") != "featmap" or "arch" not in backbone:
        return
    arch = settle_arch(backbone["arch"])
    width, depth = arch["embed_dims"], arch["num_layers"]
    first = neck[0] if isinstance(neck, list) else neck
    takes = first.get("embed_dim", first.get("in_channels", width))
    if takes != width:
        raise InputError(
            f"The neck takes maps of width {takes}, but the backbone's is {width}; set "
            "model.neck's (and the heads') channels with arch, as the leaves of ViT-L do."
        )
    taps = backbone.get("out_indices", -1)
    last = max(taps) if isinstance(taps, list | tuple) else taps % depth
    if last != depth - 1:
        raise InputError(
            f"The last feature map is taken after block {last}, but the backbone has blocks 0 to "
            f"{depth - 1}; set model.backbone.out_indices with arch."
        )
    if _class_name(first) in ("", "Feature2Pyramid"):
        _check_heads(model, width)
    frozen = backbone.get("frozen_stages", -1)
    if _class_name(model.get("decode_head")) == "LinearSegHead" and 0 < frozen != depth:
        raise InputError(
            f"The linear probe freezes {frozen} blocks, but the backbone has {depth}, so it would "
            f"not be a probe of a frozen backbone; set model.backbone.frozen_stages={depth} with "
            "arch."
        )


def _check_heads(model: Any, width: int) -> None:
    """Refuse a segmenter's head that takes maps of another width; such necks leave it as it is."""
    for name in ("decode_head", "auxiliary_head"):
        taken = (model.get(name) or {}).get("in_channels", width)
        for channels in taken if isinstance(taken, list | tuple) else [taken]:
            if channels != width:
                raise InputError(
                    f"The {name} takes maps of width {channels}, but the backbone's is {width}; "
                    f"set model.{name}.in_channels with arch, as the leaves of ViT-L do."
                )


def _class_name(part: Any) -> str:
    """A part's config -> the name of its class without its library's; '' where there is none."""
    return ((part or {}).get("type") or "").split(".")[-1]


def _use_test_set(cfg: Any, name: str) -> None:
    if name not in ROBUSTNESS_SETS:
        raise InputError(
            f"test_set={name!r} is none of {', '.join(ROBUSTNESS_SETS)}; choose one, or leave it "
            "out to test on the validation set."
        )
    cfg.test_dataloader.dataset.update(
        data_root=str(Path(cfg.data_root).parent / name),
        split="",
        known_classes="imagenet-1k",
        skip_files=(".*", "README*", "*.txt"),
    )
    cfg.test_evaluator.only_present = True
