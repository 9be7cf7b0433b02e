"""The model's own tokens as the target: those of its averaged copy, or of the online backbone.

The authors' ``ema`` and ``inference``. Either works with every order; with
``similarity_from='target'`` the same pass also gives the similarity map, in float32 where
``similarity_fp32`` says so.
"""

from typing import Any

import torch
from mmengine.model import BaseModule
from mmpretrain.registry import MODELS
from torch import Tensor

from semaim_mm.layers import widen
from semaim_mm.pretrain.frozen import frozen_eval
from semaim_mm.pretrain.targets.base import STUDENT, Student, Target
from semaim_mm.pretrain.targets.inside import giver


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
        half = torch.is_autocast_enabled(imgs.device.type) and not self._is_fp32_map(model)
        with frozen_eval(backbone), torch.autocast(imgs.device.type, enabled=half):
            tokens = widen(backbone.without_registers(backbone.encode(imgs)))
        return Target(tokens[:, 1:], tokens)

    def _is_fp32_map(self, model: Any) -> bool:
        """Whether these tokens give the map of a model that wants it in float32."""
        reads_map = model.order.similarity is not None and model.similarity_from == "target"
        return model.similarity_fp32 and reads_map and giver(model.target_generator) is self


@MODELS.register_module()
class EMATarget(OwnTokens):
    """Tokens of the averaged copy; the model needs ``ema=dict(...)``."""

    reads = "ema"


@MODELS.register_module()
class OnlineTarget(OwnTokens):
    """Tokens of the model as it is at this step (the authors' ``inference``)."""

    reads = "online"
