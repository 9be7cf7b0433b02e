"""The query stream (arXiv 2312.10457, sec. 3.3): predicts a patch from CLS and earlier patches.

Legend: B images, L patches, D embed_dims. Everything is in generation order: the query of rank r
may read content tokens 0..r, which are CLS and the patches of ranks below r. With the last content
token dropped that is the plain causal triangle, so no mask is ever built.
"""

from collections.abc import Iterable, Sequence

import torch
import torch.nn.functional as F
from mmcv.cnn.bricks import DropPath
from mmcv.cnn.bricks.transformer import FFN
from mmengine.model import BaseModule, ModuleList
from mmpretrain.registry import MODELS
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from semaim_mm.errors import InputError
from semaim_mm.layers import ContentLayer, init_linear_layers


class QueryAttention(BaseModule):
    """Causal cross-attention from queries to content, with separate q, k and v projections."""

    def __init__(self, embed_dims: int, num_heads: int, drop_path_rate: float = 0.0):
        super().__init__()
        self.num_heads = num_heads
        self.q = nn.Linear(embed_dims, embed_dims)
        self.k = nn.Linear(embed_dims, embed_dims)
        self.v = nn.Linear(embed_dims, embed_dims)
        self.proj = nn.Linear(embed_dims, embed_dims)
        self.out_drop = DropPath(drop_path_rate)

    def forward(self, queries: Tensor, content: Tensor) -> Tensor:
        """(B, L, D), (B, L, D) -> (B, L, D)."""
        q, k, v = (
            linear(x).unflatten(-1, (self.num_heads, -1)).transpose(1, 2)
            for linear, x in ((self.q, queries), (self.k, content), (self.v, content))
        )
        x = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.out_drop(self.proj(x.transpose(1, 2).flatten(2)))


class QueryLayer(BaseModule):
    """Pre-norm block; one norm serves queries and content, as in the authors' code."""

    def __init__(
        self, embed_dims: int, num_heads: int, feedforward_channels: int, drop_path_rate: float
    ):
        super().__init__()
        self.ln1 = nn.LayerNorm(embed_dims, eps=1e-6)
        self.attn = QueryAttention(embed_dims, num_heads, drop_path_rate)
        self.ln2 = nn.LayerNorm(embed_dims, eps=1e-6)
        self.ffn = FFN(
            embed_dims,
            feedforward_channels,
            act_cfg=dict(type="GELU"),
            dropout_layer=dict(type="DropPath", drop_prob=drop_path_rate),
        )

    def forward(self, queries: Tensor, content: Tensor) -> Tensor:
        """(B, L, D), (B, L, D) -> (B, L, D)."""
        queries = queries + self.attn(self.ln1(queries), self.ln1(content))
        return self.ffn(self.ln2(queries), identity=queries)


@MODELS.register_module()
class SemAIMDecoder(BaseModule):
    """Query stream: block j reads the output of content block (j + 1) * depth / query_depth.

    Args:
        depth: number of content blocks.
        query_depth: number of query blocks; divides ``depth``.
        share_weights: use the weights of the content block that is read instead of own ones.
        with_cp: recompute every query block in the backward pass, to save memory; the content
            stream's is the backbone's own key.

    Raises:
        InputError: query_depth does not divide depth.
    """

    def __init__(
        self,
        embed_dims: int = 768,
        num_heads: int = 12,
        depth: int = 12,
        query_depth: int = 12,
        mlp_ratio: float = 4,
        share_weights: bool = False,
        drop_path_rate: float = 0.0,
        with_cp: bool = False,
        init_cfg: dict | None = None,
    ):
        super().__init__(init_cfg)
        if not isinstance(query_depth, int) or query_depth < 1 or depth % query_depth:
            divisors = [n for n in range(1, depth + 1) if depth % n == 0]
            raise InputError(
                f"SemAIMDecoder: query_depth={query_depth} does not divide depth={depth}, so its "
                f"blocks can't be paired with content blocks; choose one of {divisors}."
            )
        self.embed_dims = embed_dims
        self.depth = depth
        self.stride = depth // query_depth
        self.share_weights = share_weights
        self.with_cp = with_cp
        hidden = int(embed_dims * mlp_ratio)
        self.layers = ModuleList(
            QueryLayer(embed_dims, num_heads, hidden, drop_path_rate)
            for _ in range(0 if share_weights else query_depth)
        )

    def init_weights(self) -> None:
        init_linear_layers(self)
        self._is_init = True

    def forward(
        self, queries: Tensor, states: Iterable[Tensor], content_layers: Sequence[ContentLayer]
    ) -> Tensor:
        """(B, L, D) queries, content states in turn -> (B, L, D) before the final norm."""
        blocks = (
            [layer.query for layer in list(content_layers)[self.stride - 1 :: self.stride]]
            if self.share_weights
            else self.layers
        )
        for block, content in zip(blocks, states, strict=True):
            if self.with_cp and torch.is_grad_enabled():
                queries = checkpoint(block, queries, content, use_reentrant=False)
            else:
                queries = block(queries, content)
        return queries
