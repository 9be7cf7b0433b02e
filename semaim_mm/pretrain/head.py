"""Prediction head and loss (arXiv 2312.10457, sec. 3.3 and 3.4).

Legend: B images, L patches, D embed_dims, P target width.
"""

import torch.nn.functional as F
from mmengine.model import BaseModule
from mmpretrain.registry import MODELS
from torch import Tensor, nn

from semaim_mm.errors import InputError
from semaim_mm.layers import init_linear_layers, widen


def l2_loss(prediction: Tensor, target: Tensor) -> Tensor:
    """(B, L, P) twice -> (B, L): mean squared error of a patch."""
    return (prediction - target).square().mean(dim=-1)


def l1_loss(prediction: Tensor, target: Tensor) -> Tensor:
    """(B, L, P) twice -> (B, L): mean absolute error of a patch."""
    return (prediction - target).abs().mean(dim=-1)


def unit_l2_loss(prediction: Tensor, target: Tensor) -> Tensor:
    """(B, L, P) twice -> (B, L): squared L2 distance of unit vectors, 2 - 2 cos."""
    difference = F.normalize(prediction, dim=-1) - F.normalize(target, dim=-1)
    return difference.square().sum(dim=-1)


LOSSES = {"l2": l2_loss, "l1": l1_loss, "unit_l2": unit_l2_loss}


@MODELS.register_module()
class SemAIMHead(BaseModule):
    """Maps query tokens to predictions and compares them with the targets.

    Args:
        out_dims: width P of the target: patch_size^2 x 3 for pixels, the teacher's for features.
        projection: 'mlp' (D -> 4D, GELU, -> P) or 'linear'.
        loss: 'l2' or 'l1' for pixels, 'unit_l2' for features.
    """

    def __init__(
        self,
        embed_dims: int = 768,
        out_dims: int = 768,
        projection: str = "mlp",
        loss: str = "l2",
        init_cfg: dict | None = None,
    ):
        super().__init__(init_cfg)
        if loss not in LOSSES:
            raise InputError(f"SemAIMHead: no loss {loss!r}; choose one of {', '.join(LOSSES)}.")
        self.embed_dims, self.out_dims, self.loss_name = embed_dims, out_dims, loss
        if projection == "mlp":
            self.fc1 = nn.Linear(embed_dims, 4 * embed_dims)
            self.act = nn.GELU()
            self.fc2 = nn.Linear(4 * embed_dims, out_dims)
        elif projection == "linear":
            self.fc = nn.Linear(embed_dims, out_dims)
        else:
            raise InputError(f"SemAIMHead: no projection {projection!r}; choose 'mlp' or 'linear'.")
        self.projection = projection

    def init_weights(self) -> None:
        init_linear_layers(self)
        self._is_init = True

    def forward(self, queries: Tensor) -> Tensor:
        """(B, L, D) -> (B, L, P)."""
        if self.projection == "linear":
            return self.fc(queries)
        return self.fc2(self.act(self.fc1(queries)))

    def loss(self, prediction: Tensor, target: Tensor) -> Tensor:
        """(B, L, P) twice -> (B, L) loss of every patch, in float32 at least."""
        return LOSSES[self.loss_name](widen(prediction), widen(target))
