"""The transformer block of the content stream: bidirectional downstream, causal in pretraining.

Legend: B images, N tokens, D embed_dims. Source: arXiv 2312.10457, sec. 3.3 (content stream).
"""

from typing import Any

import torch
import torch.nn.functional as F
from mmpretrain.models.backbones.vision_transformer import TransformerEncoderLayer
from mmpretrain.models.utils import MultiheadAttention
from torch import Tensor, nn

from semaim_mm.errors import InputError
from semaim_mm.rel_pos import fold_bias, position_bias, table_rows
from semaim_mm.windows import from_windows, to_windows


class ContentAttention(MultiheadAttention):
    """mmpretrain's multi-head attention: causal, or on a map with windows and relative position.

    Args:
        rel_pos_window: rows and columns of the relative-position bias's table; None has no bias.
        rel_pos_vectors: rows and columns of ViTDet's decomposed tables; None has none.
        window_size: side of the windows that a map is cut into; 0 sees the whole.
        cls: whether CLS comes before the patches, which a bias must know.
        **kwargs: those of mmpretrain's MultiheadAttention.
    """

    def __init__(
        self,
        rel_pos_window: tuple[int, int] | None = None,
        rel_pos_vectors: tuple[int, int] | None = None,
        window_size: int = 0,
        cls: bool = True,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.rel_pos_window, self.window_size, self.cls = rel_pos_window, window_size, cls
        self.relative_position_bias_table = self.rel_pos_h = self.rel_pos_w = None
        if rel_pos_window is not None:
            rows = torch.zeros(table_rows(rel_pos_window, cls), self.num_heads)
            self.relative_position_bias_table = nn.Parameter(rows)
        if rel_pos_vectors is not None:
            tables = (torch.zeros(2 * side - 1, self.head_dims) for side in rel_pos_vectors)
            self.rel_pos_h, self.rel_pos_w = map(nn.Parameter, tables)

    def split_heads(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(B, N, D) -> queries, keys, values, each (B, heads, N, D / heads)."""
        batch, length, _ = x.shape
        qkv = self.qkv(x).reshape(batch, length, 3, self.num_heads, self.head_dims)
        return qkv.permute(2, 0, 3, 1, 4).unbind(0)

    def attend(
        self,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        causal: bool,
        bias: Tensor | None = None,
        scale: float | None = None,
    ) -> Tensor:
        """Heads -> (B, N, D), before the output projection."""
        dropout = self.attn_drop if self.training else 0.0
        # fused kernels want values as wide as queries
        filled = F.pad(v, (0, q.shape[-1] - self.head_dims)) if q.shape[-1] > v.shape[-1] else v
        x = F.scaled_dot_product_attention(
            q, k, filled, attn_mask=bias, dropout_p=dropout, is_causal=causal, scale=scale
        )
        return x[..., : self.head_dims].transpose(1, 2).flatten(2)

    def attend_in(
        self,
        area: tuple[int, int] | None,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        causal: bool,
        bias: Tensor | None,
    ) -> Tensor:
        """The same with relative position, on a map or window of ``area`` (rows, columns)."""
        bias = self._bias(q, area, bias)
        if self.rel_pos_h is None:
            return self.attend(q, k, v, causal, bias)
        self._check_raster(area)
        q, k = fold_bias(q, k, self.rel_pos_h, self.rel_pos_w, area)
        return self.attend(q, k, v, causal, bias, scale=1.0)

    def project(self, x: Tensor) -> Tensor:
        """(B, N, D) -> (B, N, D): output projection, LayerScale and drop path of an image."""
        return self.out_drop(self.gamma1(self.proj_drop(self.proj(x))))

    def forward(
        self,
        x: Tensor,
        causal: bool = False,
        grid: tuple[int, int] | None = None,
        bias: Tensor | None = None,
    ) -> Tensor:
        """(B, N, D) -> (B, N, D); with ``causal`` token i sees tokens 0..i only.

        Args:
            grid: rows and columns of patches of tokens in raster order, None in another order.
            bias: (heads, N, N) or (heads, S * S, S * S), a bias that blocks share.
        """
        side = self.window_size
        area = (side, side) if side else grid
        if side:
            x = to_windows(x, grid, side)
        q, k, v = self.split_heads(x)
        x = self.attend_in(area, q, k, v, causal, bias)
        return self.project(from_windows(x, grid, side) if side else x)

    def _bias(
        self, q: Tensor, area: tuple[int, int] | None, shared: Tensor | None
    ) -> Tensor | None:
        """-> what is added to the scores, in the dtype of ``q``; None without relative position."""
        parts = [] if shared is None else [shared]
        if self.relative_position_bias_table is not None:
            self._check_raster(area)
            table = self.relative_position_bias_table
            parts.append(position_bias(table, self.rel_pos_window, area, self.cls))
        return sum(part.to(q.dtype) for part in parts) if parts else None

    def _check_raster(self, area: tuple[int, int] | None) -> None:
        if area is None:
            raise InputError(
                "A relative-position bias belongs to tokens in raster order, CLS first; pretrain "
                "in another order without it (rel_pos_bias=False)."
            )

    def class_attention(self, x: Tensor) -> Tensor:
        """(B, N, D) -> (B, heads, N): softmax attention of the first token, by head.

        Of the projection only the first token's query and all keys are computed.
        """
        (to_query, to_key, _), biases = self.qkv.weight.chunk(3), (None, None)
        if self.qkv.bias is not None:
            biases = self.qkv.bias.chunk(3)
        by_head = (self.num_heads, self.head_dims)
        q = F.linear(x[:, 0], to_query, biases[0]).unflatten(-1, by_head)
        k = F.linear(x, to_key, biases[1]).unflatten(-1, by_head)
        scores = widen(k.transpose(1, 2) @ q[..., None]).squeeze(-1)
        return (scores * self.head_dims**-0.5).softmax(dim=-1)


class ContentLayer(TransformerEncoderLayer):
    """mmpretrain's encoder layer with ContentAttention and the authors' initialisation.

    Args:
        map_cfg: arguments of ContentAttention beyond mmpretrain's.
        **kwargs: those of mmpretrain's TransformerEncoderLayer.
    """

    def __init__(self, embed_dims: int, num_heads: int, map_cfg: dict | None = None, **kwargs):
        super().__init__(embed_dims=embed_dims, num_heads=num_heads, **kwargs)
        self.attn = ContentAttention(
            embed_dims=embed_dims,
            num_heads=num_heads,
            attn_drop=kwargs.get("attn_drop_rate", 0.0),
            proj_drop=kwargs.get("drop_rate", 0.0),
            dropout_layer=dict(type="DropPath", drop_prob=kwargs.get("drop_path_rate", 0.0)),
            qkv_bias=kwargs.get("qkv_bias", True),
            layer_scale_init_value=kwargs.get("layer_scale_init_value", 0.0),
            **(map_cfg or {}),
        )

    def forward(self, x: Tensor, **how: Any) -> Tensor:
        """(B, N, D) -> (B, N, D); ``how`` is what ContentAttention takes beside the tokens."""
        x = x + self.attn(self.ln1(x), **how)
        return self.ffn(self.ln2(x), identity=x)

    def query(self, queries: Tensor, content: Tensor) -> Tensor:
        """(B, L, D) queries over (B, L, D) content with this layer's weights (shared decoder)."""
        q, _, _ = self.attn.split_heads(self.ln1(queries))
        _, k, v = self.attn.split_heads(self.ln1(content))
        queries = queries + self.attn.project(self.attn.attend(q, k, v, causal=True))
        return self.ffn(self.ln2(queries), identity=queries)

    def init_weights(self) -> None:
        init_linear_layers(self)


def init_linear_layers(module: nn.Module) -> None:
    """Xavier-uniform weights and zero biases for every ``Linear``, as the authors start."""
    for child in module.modules():
        if isinstance(child, nn.Linear):
            nn.init.xavier_uniform_(child.weight)
            if child.bias is not None:
                nn.init.zeros_(child.bias)


def gather_tokens(tokens: Tensor, order: Tensor) -> Tensor:
    """(B, L, D) tokens in raster order, (B, L) patch indices -> (B, L, D) in that order."""
    return torch.gather(tokens, 1, order[..., None].expand(-1, -1, tokens.shape[-1]))


def widen(x: Tensor) -> Tensor:
    """Half precision to float32; float32 and float64 stay as they are."""
    return x.to(torch.promote_types(x.dtype, torch.float32))
