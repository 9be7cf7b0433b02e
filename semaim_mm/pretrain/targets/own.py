"""The model's own tokens as the target: those of its averaged copy, or of the online backbone.

The authors' ``ema`` and ``inference``. Either works with every order; with
``similarity_from='target'`` the same pass also gives the similarity map.
"""

from typing import Any

import torch
from mmengine.model import BaseModule
from mmpretrain.registry import MODELS
from torch import Tensor

from semaim_mm.layers import widen
from semaim_mm.pretrain.frozen import frozen_eval
from semaim_mm.pretrain.targets.base import STUDENT, Student, Target


class OwnTokens(BaseModule):
    """Base: normalised tokens of a backbone of the model, unmasked, in eval mode.

    Args:
        student: whose tokens they are; SemAIM says it.
    """

    gives_tokens = True
    reads: str

    def __init__(self, student: Student = STUDENT):
        super().__init__()
        self.out_dims, self.patch_size = student.embed_dims, student.patch_size

    @classmethod
    def defaults(cls, student: Student) -> dict[str, Any]:
        return dict(student=student)

    @torch.no_grad()
    def forward(self, imgs: Tensor, model: Any) -> Target:
        """(B, 3, H, W), the SemAIM -> values (B, L, D), float32, without gradient."""
        backbone = model.ema.module if self.reads == "ema" else model.backbone
        with frozen_eval(backbone):
            tokens = widen(backbone.without_registers(backbone.encode(imgs)))
        return Target(tokens[:, 1:], tokens)


@MODELS.register_module()
class EMATarget(OwnTokens):
    """Tokens of the averaged copy; the model needs ``ema=dict(...)``."""

    reads = "ema"


@MODELS.register_module()
class OnlineTarget(OwnTokens):
    """Tokens of the model as it is at this step (the authors' ``inference``)."""

    reads = "online"
