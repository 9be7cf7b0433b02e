"""Predicting several targets at once: a head and a loss each, the losses weighed.

Legend: B images, L patches, D embed_dims, P the targets' widths together.
"""

from collections.abc import Sequence

import torch
from mmengine.model import BaseModule, ModuleList
from mmpretrain.registry import MODELS
from torch import Tensor

from semaim_mm.errors import InputError
from semaim_mm.pretrain.head import SemAIMHead


@MODELS.register_module()
class MultiHead(BaseModule):
    """One SemAIMHead a target of MultiTarget, in its order.

    Args:
        heads: arguments of each SemAIMHead: dict(loss='unit_l2'), dict(loss='l2').
        weights: of the losses; 1 each by default.
        widths: of the targets; SemAIM takes them from the target generator.
    """

    def __init__(
        self,
        heads: Sequence[dict],
        weights: Sequence[float] | None = None,
        widths: Sequence[int] = (),
        embed_dims: int = 768,
        init_cfg: dict | None = None,
    ):
        super().__init__(init_cfg)
        weights = [1.0] * len(heads) if weights is None else list(weights)
        if not len(heads) == len(weights) == len(widths):
            raise InputError(
                f"MultiHead has {len(heads)} heads and {len(weights)} weights for {len(widths)} "
                "targets; give one of each a target."
            )
        if min(weights) < 0 or not any(weights):
            raise InputError(
                f"MultiHead: weights={weights} must not be negative, nor all zero; mend the config."
            )
        self.heads = ModuleList(
            SemAIMHead(**dict(embed_dims=embed_dims, out_dims=width) | dict(head))
            for head, width in zip(heads, widths, strict=True)
        )
        self.weights, self.widths, self.embed_dims = weights, list(widths), embed_dims
        self.out_dims = sum(head.out_dims for head in self.heads)

    def forward(self, queries: Tensor) -> Tensor:
        """(B, L, D) -> (B, L, P)."""
        return torch.cat([head(queries) for head in self.heads], dim=-1)

    def parts(self, prediction: Tensor, target: Tensor) -> dict[str, Tensor]:
        """(B, L, P) twice -> (B, L) loss of every target by name, such as 'target0_unit_l2'."""
        pairs = zip(prediction.split(self.widths, -1), target.split(self.widths, -1), strict=True)
        return {
            f"target{number}_{head.loss_name}": head.loss(*pair)
            for number, (head, pair) in enumerate(zip(self.heads, pairs, strict=True))
        }

    def weighed(self, prediction: Tensor, target: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """(B, L, P) twice -> (B, L), the weighed sum of the targets' losses, and ``parts``."""
        parts = self.parts(prediction, target)
        losses = zip(self.weights, parts.values(), strict=True)
        return sum(weight * loss for weight, loss in losses), parts

    def loss(self, prediction: Tensor, target: Tensor) -> Tensor:
        """(B, L, P) twice -> (B, L): the weighed sum of the targets' losses, per patch."""
        return self.weighed(prediction, target)[0]
