"""The transformer block of the content stream: bidirectional downstream, causal in pretraining.

Legend: B images, N tokens, D embed_dims. Source: arXiv 2312.10457, sec. 3.3 (content stream).
"""

import torch
import torch.nn.functional as F
from mmpretrain.models.backbones.vision_transformer import TransformerEncoderLayer
from mmpretrain.models.utils import MultiheadAttention
from torch import Tensor, nn

from semaim_mm.errors import InputError
from semaim_mm.rel_pos import Relation, position_bias, table_rows


class ContentAttention(MultiheadAttention):
    """mmpretrain's multi-head attention, which can also run under the causal mask.

    Args:
        rel_pos_window: rows and columns of the relative-position bias's table; None has no bias.
        **kwargs: those of mmpretrain's MultiheadAttention.
    """

    def __init__(self, rel_pos_window: tuple[int, int] | None = None, **kwargs):
        super().__init__(**kwargs)
        self.rel_pos_window = rel_pos_window
        self.relative_position_bias_table = None
        if rel_pos_window is not None:
            rows = torch.zeros(table_rows(rel_pos_window), self.num_heads)
            self.relative_position_bias_table = nn.Parameter(rows)

    def split_heads(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(B, N, D) -> queries, keys, values, each (B, heads, N, D / heads)."""
        batch, length, _ = x.shape
        qkv = self.qkv(x).reshape(batch, length, 3, self.num_heads, self.head_dims)
        return qkv.permute(2, 0, 3, 1, 4).unbind(0)

    def attend(
        self, q: Tensor, k: Tensor, v: Tensor, causal: bool, bias: Tensor | None = None
    ) -> Tensor:
        """Heads -> (B, N, D) after the output projection, LayerScale and drop path."""
        dropout = self.attn_drop if self.training else 0.0
        x = F.scaled_dot_product_attention(
            q, k, v, attn_mask=bias, dropout_p=dropout, is_causal=causal
        )
        x = x.transpose(1, 2).flatten(2)
        return self.out_drop(self.gamma1(self.proj_drop(self.proj(x))))

    def forward(self, x: Tensor, causal: bool = False, relation: Relation | None = None) -> Tensor:
        """(B, N, D) -> (B, N, D); with ``causal`` token i sees tokens 0..i only."""
        q, k, v = self.split_heads(x)
        return self.attend(q, k, v, causal, self.bias_for(q, relation))

    def bias_for(self, q: Tensor, relation: Relation | None) -> Tensor | None:
        """-> (heads, N, N) relative-position bias in the dtype of ``q``, None without a table."""
        if self.relative_position_bias_table is None:
            return None
        if relation is None:
            raise InputError(
                "A relative-position bias belongs to tokens in raster order, CLS first; pretrain "
                "in another order without it (rel_pos_bias=False)."
            )
        bias = position_bias(self.relative_position_bias_table, self.rel_pos_window, relation)
        return bias.to(q.dtype)

    def class_attention(self, x: Tensor) -> Tensor:
        """(B, N, D) -> (B, N): softmax attention of the first token, averaged over heads."""
        q, k, _ = self.split_heads(x)
        scores = widen(q[:, :, :1] @ k.transpose(-2, -1)) * self.head_dims**-0.5
        return scores.softmax(dim=-1).mean(dim=1).squeeze(1)


class ContentLayer(TransformerEncoderLayer):
    """mmpretrain's encoder layer with a ``causal`` switch and the authors' initialisation."""

    def __init__(self, embed_dims: int, num_heads: int, **kwargs):
        rel_pos_window = kwargs.pop("rel_pos_window", None)
        super().__init__(embed_dims=embed_dims, num_heads=num_heads, **kwargs)
        self.attn = ContentAttention(
            embed_dims=embed_dims,
            num_heads=num_heads,
            attn_drop=kwargs.get("attn_drop_rate", 0.0),
            proj_drop=kwargs.get("drop_rate", 0.0),
            dropout_layer=dict(type="DropPath", drop_prob=kwargs.get("drop_path_rate", 0.0)),
            qkv_bias=kwargs.get("qkv_bias", True),
            layer_scale_init_value=kwargs.get("layer_scale_init_value", 0.0),
            rel_pos_window=rel_pos_window,
        )

    def forward(self, x: Tensor, causal: bool = False, relation: Relation | None = None) -> Tensor:
        """(B, N, D) -> (B, N, D)."""
        x = x + self.attn(self.ln1(x), causal=causal, relation=relation)
        return self.ffn(self.ln2(x), identity=x)

    def query(self, queries: Tensor, content: Tensor) -> Tensor:
        """(B, L, D) queries over (B, L, D) content with this layer's weights (shared decoder)."""
        q, _, _ = self.attn.split_heads(self.ln1(queries))
        _, k, v = self.attn.split_heads(self.ln1(content))
        queries = queries + self.attn.attend(q, k, v, causal=True)
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
