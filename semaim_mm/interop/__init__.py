"""Checkpoints in and out: any ViT family, the authors', mmpretrain's; strict loading everywhere."""

from semaim_mm.interop.authors import from_authors, to_authors
from semaim_mm.interop.backbone_checkpoint import load_backbone_weights
from semaim_mm.interop.carry import carry_into
from semaim_mm.interop.checkpoint_file import read_state_dict, sha256_of
from semaim_mm.interop.load import load_backbone

__all__ = [
    "carry_into",
    "from_authors",
    "load_backbone",
    "load_backbone_weights",
    "read_state_dict",
    "sha256_of",
    "to_authors",
]
