"""Two other ways to attend on a map with relative position, for the weights of ContentAttention.

``ExplicitAttention`` is the baseline: it builds the bias and the scores of every pair as matrices
and takes their softmax, laid out as detectron2's ViT is. ``FoldedAttention`` never builds a matrix
of pairs: ViTDet's decomposed bias is a product of query and key vectors, so it can be appended to
them. Legend: B images (or windows of images), H heads, L = rows * columns patches, d head width.
"""

from copy import deepcopy

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from semaim_mm.layers import ContentAttention
from semaim_mm.rel_pos import position_bias, resize_vectors
from semaim_mm.vit import SemAIMViT
from semaim_mm.windows import from_windows, to_windows

ALIGNMENT = 8  # fused kernels want head widths that are multiples of it


class MapAttention(nn.Module):
    """ContentAttention's projections and windows around another ``attend``."""

    def __init__(self, attn: ContentAttention):
        super().__init__()
        self.attn = attn
        self.window_size = attn.window_size

    def forward(
        self, x: Tensor, grid: tuple[int, int], causal: bool = False, bias: Tensor | None = None
    ) -> Tensor:
        """(B, L, D) -> (B, L, D), as ContentAttention's forward; never causal."""
        side = self.window_size
        if side:
            x = to_windows(x, grid, side)
        x = self.attend(*self.attn.split_heads(x), (side, side) if side else grid, bias)
        return self.attn.project(from_windows(x, grid, side) if side else x)

    def attend(
        self, q: Tensor, k: Tensor, v: Tensor, area: tuple[int, int], bias: Tensor | None
    ) -> Tensor:
        """(B, H, L, d) three times, the area's rows and columns -> (B, L, H * d)."""
        raise NotImplementedError


class ExplicitAttention(MapAttention):
    """Bias matrix of (B * H, L, L), scores and softmax, each a tensor of its own."""

    def attend(self, q, k, v, area, bias):
        batch, heads = q.shape[:2]
        q, k, v = (x.flatten(0, 1) for x in (q, k, v))
        scores = (q * self.attn.head_dims**-0.5) @ k.transpose(-2, -1)
        if bias is not None:
            scores = scores + bias.to(scores.dtype).repeat(batch, 1, 1)
        if self.attn.relative_position_bias_table is not None:
            table, window = self.attn.relative_position_bias_table, self.attn.rel_pos_window
            own = position_bias(table, window, area, self.attn.cls).to(scores.dtype)
            scores = scores + own.repeat(batch, 1, 1)
        if self.attn.rel_pos_h is not None:
            scores = scores + self._decomposed(q, area)
        x = scores.softmax(dim=-1) @ v
        return x.unflatten(0, (batch, heads)).transpose(1, 2).flatten(2)

    def _decomposed(self, q: Tensor, area: tuple[int, int]) -> Tensor:
        rows, columns = area
        along_h, along_w = axis_scores(q, self.attn.rel_pos_h, self.attn.rel_pos_w, area)
        pairs = along_h[..., :, None] + along_w[..., None, :]
        return pairs.reshape(len(q), rows * columns, rows * columns)


class FoldedAttention(MapAttention):
    """The decomposed bias inside the queries and keys; the rest is attention without any bias.

    A pair's score is q.k / sqrt(d) + (q.R_h)[row of k] + (q.R_w)[column of k]. With the keys' row
    and column written as unit vectors that is one product of width d + rows + columns. Values are
    padded to that width, which the fused kernels ask for. Blocks without decomposed tables attend
    as ContentAttention does.
    """

    def attend(self, q, k, v, area, bias):
        if self.attn.rel_pos_h is None:
            return self.attn.attend(q, k, v, False, self.attn._bias(q, area, bias))
        width = self.attn.head_dims
        q, k = fold_bias(q, k, self.attn.rel_pos_h, self.attn.rel_pos_w, area)
        v = F.pad(v, (0, q.shape[-1] - width))
        x = F.scaled_dot_product_attention(q, k, v, scale=1.0)[..., :width]
        return x.transpose(1, 2).flatten(2)


def fold_bias(
    q: Tensor, k: Tensor, table_h: Tensor, table_w: Tensor, grid: tuple[int, int]
) -> tuple[Tensor, Tensor]:
    """(B, H, L, d) queries and keys, decomposed tables -> both (B, H, L, d + rows + columns).

    Their products are the scaled scores plus the bias: attend with ``scale=1``. The width is
    rounded up to a multiple of 8 with zeros.
    """
    rows, columns = grid
    along_h, along_w = axis_scores(q, table_h, table_w, grid)
    filling = -(q.shape[-1] + rows + columns) % ALIGNMENT
    place = torch.arange(rows * columns, device=q.device)
    unit_h = F.one_hot(place // columns, rows).to(k.dtype)
    unit_w = F.one_hot(place % columns, columns + filling).to(k.dtype)
    units = torch.cat([unit_h, unit_w], dim=-1).expand(*k.shape[:2], -1, -1)
    scaled = q * q.shape[-1] ** -0.5
    along_h, along_w = along_h.flatten(-3, -2), along_w.flatten(-3, -2)
    queries = torch.cat([scaled, along_h, F.pad(along_w, (0, filling))], dim=-1)
    return queries, torch.cat([k, units], dim=-1)


def axis_scores(
    q: Tensor, table_h: Tensor, table_w: Tensor, grid: tuple[int, int]
) -> tuple[Tensor, Tensor]:
    """(..., L, d) queries -> (..., rows, columns, rows) and (..., rows, columns, columns).

    Each query's product with the vectors of its offsets to every row, and to every column.
    """
    q = q.unflatten(-2, grid)
    vectors = []
    for table, side in zip((table_h, table_w), grid, strict=True):
        place = torch.arange(side, device=q.device)
        offsets = place[:, None] - place[None, :] + side - 1
        vectors.append(resize_vectors(table, 2 * side - 1)[offsets].to(q.dtype))
    return (
        torch.einsum("...rcd,rkd->...rck", q, vectors[0]),
        torch.einsum("...rcd,ckd->...rck", q, vectors[1]),
    )


def with_attention(backbone: SemAIMViT, kind: type[MapAttention] | None) -> SemAIMViT:
    """-> a copy of the backbone that attends so; None copies it as it is."""
    backbone = deepcopy(backbone)
    for layer in backbone.layers if kind is not None else ():
        layer.attn = kind(layer.attn)
    return backbone
