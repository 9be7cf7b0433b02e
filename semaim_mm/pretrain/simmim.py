"""SimMIM on a plain ViT, ours: mmpretrain has it for Swin only.

Masked patches are replaced by a learned token, all tokens pass the encoder, a linear head predicts
raw pixels, L1 on masked patches. Idea: arXiv 2111.09886; absolute sin-cos positions instead of
their relative bias. Legend: B images, L patches, D embed_dims.
"""

from collections.abc import Sequence

import torch
from mmpretrain.models.selfsup.base import BaseSelfSupervisor
from mmpretrain.registry import MODELS
from mmpretrain.structures import DataSample
from torch import Tensor, nn

from semaim_mm.errors import InputError
from semaim_mm.pretrain.draws import Draws
from semaim_mm.pretrain.targets import patchify


@MODELS.register_module()
class PlainSimMIM(BaseSelfSupervisor):
    """SimMIM with SemAIMViT as its encoder.

    Args:
        backbone: SemAIMViT.
        mask_ratio: share of the image that is masked.
        mask_block: side of a masked square, in patches; divides the grid.
    """

    def __init__(
        self,
        backbone: dict,
        mask_ratio: float = 0.6,
        mask_block: int = 2,
        data_preprocessor: dict | None = None,
        init_cfg: dict | None = None,
    ):
        super().__init__(backbone=backbone, data_preprocessor=data_preprocessor, init_cfg=init_cfg)
        if not 0 < mask_ratio < 1:
            raise InputError(f"PlainSimMIM: mask_ratio={mask_ratio} must lie between 0 and 1.")
        if any(side % mask_block for side in self.backbone.patch_resolution):
            raise InputError(
                f"PlainSimMIM: mask_block={mask_block} does not divide the patch grid "
                f"{tuple(self.backbone.patch_resolution)}; choose one that does."
            )
        self.mask_ratio, self.mask_block = mask_ratio, mask_block
        self.mask_token = nn.Parameter(torch.zeros(1, 1, self.backbone.embed_dims))
        self.predict = nn.Linear(self.backbone.embed_dims, 3 * self.backbone.patch_size**2)

    def init_weights(self) -> None:
        super().init_weights()
        nn.init.trunc_normal_(self.mask_token, std=0.02)
        nn.init.xavier_uniform_(self.predict.weight)
        nn.init.zeros_(self.predict.bias)

    def mask(self, grid: tuple[int, int], draws: Draws) -> Tensor:
        """-> (B, L) bool, True where masked: the same number of squares in every image."""
        block = self.mask_block
        rows, columns = grid[0] // block, grid[1] // block
        ranks = draws.integers(rows * columns).argsort(dim=1).argsort(dim=1)
        coarse = ranks < max(1, round(rows * columns * self.mask_ratio))
        fine = coarse.view(-1, rows, columns)
        return fine.repeat_interleave(block, 1).repeat_interleave(block, 2).flatten(1)

    def loss(
        self, inputs: Tensor, data_samples: Sequence[DataSample] | None = None
    ) -> dict[str, Tensor]:
        """(B, 3, H, W) normalised images -> dict(loss=()), mean over masked pixels."""
        backbone = self.backbone
        patches, grid = backbone.patch_embed(inputs)
        mask = self.mask(grid, Draws.of_samples(inputs, data_samples))
        positions = backbone.positions(grid)
        tokens = torch.where(mask[..., None], self.mask_token.to(patches.dtype), patches)
        tokens = torch.cat(
            [backbone.class_token(len(inputs), positions), tokens + positions[:, 1:]], dim=1
        )
        for layer in backbone.layers:
            tokens = layer(tokens)
        prediction = self.predict(backbone.ln1(tokens)[:, 1:]).float()
        error = (prediction - patchify(inputs, backbone.patch_size)).abs().mean(dim=-1)
        return dict(loss=(error * mask).sum() / mask.sum())
