"""What decides a score but for the weights: the part of a run that its fingerprint is made of."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmengine.config import Config

from semaim_mm.data.held_out import innermost
from semaim_mm.data.prepare.manifest import data_record
from semaim_mm.interop.checkpoint_file import sha256_of
from semaim_mm.report.result import canonical
from semaim_mm.runtime.tuned import mask_model, mask_swept, read_choice

# what comes with the weights: part of the method, not of the protocol that judges it
BACKBONE_OF_METHOD = (
    "type",
    "arch",
    "img_size",
    "patch_size",
    "init_cfg",
    "norm_cfg",
    "pre_norm",
    "qkv_bias",
    "layer_scale_init_value",
    "layer_cfgs",
    "patch_cfg",
    "num_registers",
    "rel_pos_bias",
    "with_cls_token",
    "frozen_pos_embed",
    "with_cp",  # saves memory, changes no number
)
# of those, what a dense recipe states for itself before a checkpoint's traits are carried in
STATED = ("img_size", "frozen_pos_embed", "rel_pos_bias", "layer_scale_init_value")
# hooks of ours that count and record, and change no weight
WATCHING = ("SeedStepHook", "ClassCountHook", "SkippedImagesHook", "BudgetHook", "RecordHook")
# what says which images a data set reads, and how; where it lies on a disk does not
OF_DATA = (
    *("split", "known_classes", "skip_files", "pipeline", "subset", "indices"),
    *("filter_cfg", "ann_file", "data_prefix", "faults"),
)
TRAINING = ("total_batch", "base_lr", "optim_wrapper", "param_scheduler", "train_cfg", "precision")


def protocol_of(
    cfg: Config,
    judge: Any = None,
    trained_by: Mapping[str, Any] | None = None,
    selection: str | None = None,
) -> dict[str, Any]:
    """-> everything in a resolved config that decides a score, but for the weights themselves.

    Args:
        judge: the built protocol of frozen features, whose defaults count too.
        trained_by: ``training_of`` the run that trained the tested model on the task, as its
            checkpoint records it: the config that tests it may say otherwise. None is untrained.
        selection: how that run's checkpoint was chosen.
    """
    found = cfg.to_dict()
    model = _without_backbone(found)
    trained = trained_by or {}
    if trained.get("tuned"):
        model = mask_model(model, trained["tuned"])
    evaluator = dict(found.get("test_evaluator") or {})
    evaluator.pop("ann_file", None)  # a path; what lies there is the data's own record
    if judge is not None:
        evaluator |= {k: v for k, v in vars(judge).items() if not k.startswith("_")}
    bank = (found.get("test_cfg") or {}).get("bank_dataloader")
    named = {k: found[k] for k in ("pretraining_data",) if found.get(k) is not None}
    if trained.get("starts_from"):
        named["starts_from"] = trained["starts_from"]
    heads = trained.get("heads")
    # said only where the two differ, as where they don't the model has it already
    if heads is not None and canonical(heads) != canonical(_heads(model)):
        named["trained_heads"] = heads
    return named | dict(
        task=found.get("task"),
        recipe=trained.get("recipe", found.get("recipe")),
        classes=found.get("classes"),
        tta_model=found.get("tta_model"),
        test_set=found.get("test_set"),
        test_precision="fp16" if (found.get("test_cfg") or {}).get("fp16") else "fp32",
        model=model,
        backbone=trained.get("backbone", _backbone(found)),
        test_data=_data(found["test_dataloader"]),
        bank_data=None if bank is None else _data(bank) | _manifest(bank),
        evaluator=evaluator,
        storage=(found.get("test_cfg") or {}).get("storage"),
        training=None if trained_by is None else _training(trained_by),
        train_data=trained.get("data"),
        sampler=trained.get("sampler"),
        hooks=trained.get("hooks"),
        trained_model=trained.get("model"),
        selection=None if trained_by is None else selection,
    )


def training_of(cfg: Config) -> dict[str, Any] | None:
    """A resolved config -> the part of it that decides a training, None where it trains nothing."""
    found = cfg.to_dict()
    if found.get("train_cfg") is None:
        return None
    kept = {key: found.get(key) for key in TRAINING}
    # when a run validates changes nothing in it
    unseen = ("val_interval", "val_begin")
    kept["train_cfg"] = {k: v for k, v in found["train_cfg"].items() if k not in unseen}
    recipe = dict(
        **kept,
        data=_data(found["train_dataloader"]),
        sampler=found["train_dataloader"].get("sampler"),
        hooks=[h for h in found.get("custom_hooks") or () if h.get("type") not in WATCHING],
        recipe=found.get("recipe"),
        backbone=_backbone(found),
        model=found["model"].get("train_cfg"),
    )
    model, choice = _without_backbone(found), read_choice(found.get("tuned"))
    if choice is None:
        return recipe | {"heads": _heads(model)}
    return mask_swept(recipe, choice) | {"heads": _heads(mask_model(model, choice))}


def _without_backbone(found: Mapping[str, Any]) -> dict[str, Any]:
    model = {k: v for k, v in found["model"].items() if k != "backbone"}
    preprocessor = model.get("data_preprocessor") or {}
    # mean and std travel with the weights
    model["data_preprocessor"] = {k: v for k, v in preprocessor.items() if k not in ("mean", "std")}
    return model


def _heads(model: Mapping[str, Any]) -> dict[str, Any]:
    """Neck, heads, losses, augmentation in batches: what of a model a training has a say in."""
    return {k: v for k, v in model.items() if k not in ("train_cfg", "test_cfg")}


def _training(trained_by: Mapping[str, Any]) -> dict[str, Any]:
    tuned = {"tuned": trained_by["tuned"]} if trained_by.get("tuned") else {}
    return {k: trained_by.get(k) for k in TRAINING} | tuned


def state_backbone(cfg: Config) -> None:
    """Keep what a recipe says of its backbone, before a checkpoint's traits overwrite it."""
    backbone = cfg["model"].get("backbone") or {}
    if backbone.get("out_type") == "featmap" and cfg.get("stated_backbone") is None:
        cfg["stated_backbone"] = {key: backbone.get(key) for key in STATED}


def _backbone(found: Mapping[str, Any]) -> dict[str, Any]:
    """The recipe's part of a backbone: weights that start fresh, and how positions grow, too."""
    backbone = found["model"].get("backbone") or {}
    kept = {k: v for k, v in backbone.items() if k not in BACKBONE_OF_METHOD}
    if found["model"].get("type") == "FeatureModel":
        kept.pop("final_norm", None)  # frozen features are normalised as the poolings say
        kept.pop("out_type", None)  # not read: FeatureModel takes tokens
    init = backbone.get("init_cfg") or {}
    kept["new_keys"] = list(init.get("new_keys") or ())
    kept["regrow_sincos"] = init.get("regrow_sincos", False)
    kept["stated"] = found.get("stated_backbone")
    return kept


def _data(loader: Mapping[str, Any]) -> dict[str, Any]:
    dataset, wrappers = loader["dataset"], []
    while "dataset" in dataset:
        wrappers.append({key: value for key, value in dataset.items() if key != "dataset"})
        dataset = dataset["dataset"]
    part = {key: dataset[key] for key in ("part", "tolerated") if dataset.get(key)}
    listed = (dataset.get("subset") or {}).get("file")
    if listed and Path(listed).is_file():
        # two lists of one name are two sets, and one list under two names is one
        dataset = dataset | {"subset": {"file_sha256": sha256_of(listed)}}
    return {key: dataset.get(key) for key in OF_DATA} | {"wrappers": wrappers} | part


def _manifest(loader: Mapping[str, Any]) -> dict[str, Any]:
    return {"manifest": data_record(innermost(loader["dataset"]))["manifest_sha256"]}
