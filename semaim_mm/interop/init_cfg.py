"""A backbone's ``init_cfg``: read strictly, whichever type it names."""

from torch import nn

from semaim_mm.errors import InputError
from semaim_mm.interop.backbone_checkpoint import load_backbone_weights

UNTRAINED = "random"  # in the checkpoint's place: the weights as training starts, asked for by name
KINDS = ("BackboneCheckpoint", "Pretrained")


def load_init_cfg(backbone: nn.Module) -> None:
    """Load the checkpoint that ``backbone.init_cfg`` names, if any; keep its ``coverage``.

    Raises:
        InputError: another type of init_cfg, no checkpoint in it, or as ``load_backbone_weights``.
    """
    cfgs = backbone.init_cfg if isinstance(backbone.init_cfg, list) else [backbone.init_cfg]
    for cfg in filter(None, cfgs):
        if cfg.get("resumed"):  # the whole model comes from the run's own checkpoint
            continue
        if cfg.get("checkpoint") == UNTRAINED:
            continue
        if cfg["type"] not in KINDS:
            raise InputError(
                f"SemAIMViT knows no init_cfg of type {cfg['type']!r}; it starts as the "
                "authors' code does, or from dict(type='BackboneCheckpoint', checkpoint=...)."
            )
        if not cfg.get("checkpoint"):
            raise InputError(
                "The backbone's init_cfg names no checkpoint: set model.backbone.init_cfg."
                "checkpoint=PATH, or the word 'random' in the path's place to start untrained."
            )
        told = {key: value for key, value in cfg.items() if key not in ("type", "checkpoint")}
        backbone.coverage = load_backbone_weights(backbone, cfg["checkpoint"], **told)
