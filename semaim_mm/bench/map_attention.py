"""Two other ways to attend on a map with relative position, for the weights of ContentAttention.

``ExplicitAttention`` is the baseline: it builds the bias and the scores of every pair as matrices
and takes their softmax, laid out as detectron2's ViT is. ``MatrixBiasAttention`` builds the bias
alone and leaves the rest to torch. ContentAttention builds neither where the bias is decomposed: it
folds it into queries and keys (``rel_pos.fold_bias``). Legend: B images (or windows of images), H
heads, L = rows * columns patches, d head width.
"""

from copy import deepcopy

from torch import Tensor, nn

from semaim_mm.layers import ContentAttention
from semaim_mm.rel_pos import axis_scores, position_bias
from semaim_mm.vit import SemAIMViT
from semaim_mm.windows import from_windows, to_windows


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
            scores = scores + decomposed_bias(q, self.attn, area)
        x = scores.softmax(dim=-1) @ v
        return x.unflatten(0, (batch, heads)).transpose(1, 2).flatten(2)


class MatrixBiasAttention(MapAttention):
    """Torch's fused call with the whole bias, of (B, H, L, L), as its mask."""

    def attend(self, q, k, v, area, bias):
        if self.attn.rel_pos_h is None:
            return self.attn.attend_map(q, k, v, area, bias)
        whole = decomposed_bias(q, self.attn, area)
        other = self.attn._bias(q, area, bias)
        return self.attn.attend(q, k, v, False, whole if other is None else whole + other)


def decomposed_bias(q: Tensor, attn: ContentAttention, area: tuple[int, int]) -> Tensor:
    """(..., L, d) queries -> (..., L, L), what the decomposed tables add to the scores."""
    along_h, along_w = axis_scores(q, attn.rel_pos_h, attn.rel_pos_w, area)
    pairs = along_h[..., :, None] + along_w[..., None, :]
    return pairs.flatten(-2).flatten(-3, -2)


def with_attention(backbone: SemAIMViT, kind: type[MapAttention] | None) -> SemAIMViT:
    """-> a copy of the backbone that attends so; None copies it as it is."""
    backbone = deepcopy(backbone)
    for layer in backbone.layers if kind is not None else ():
        layer.attn = kind(layer.attn)
    return backbone
