"""The slow and obvious SemAIM: what the fast one must equal, and its baseline in benchmarks.

Laid out as the authors' code: tokens stay in raster order, every image has its own additive masks
built from its keys, attention is an explicit softmax, the query stream carries a CLS row that is
dropped at the end, every block runs over all tokens. It reads the weights of a SemAIM model and
calls none of its layers. Legend: B images, L patches, N = 1 + L, D width, P target width.
"""

import torch
import torch.nn.functional as F
from mmengine.model import is_model_wrapper
from torch import Tensor, nn


def additive_masks(keys: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """(B, L) keys -> content mask, query mask, each (B, 1, N, N): 0 to see, -inf not to.

    A patch sees CLS and, as content, the patches whose key is not larger than its own; as a query,
    those whose key is strictly smaller. CLS sees itself alone.
    """
    own, other = keys[:, :, None], keys[:, None, :]
    masks = []
    for sees in (other <= own, other < own):
        batch, length, _ = sees.shape
        allowed = torch.zeros(batch, 1 + length, 1 + length, dtype=torch.bool, device=keys.device)
        allowed[:, :, 0] = True
        allowed[:, 1:, 1:] = sees
        mask = torch.zeros(allowed.shape, dtype=dtype, device=keys.device)
        masks.append(mask.masked_fill(~allowed, float("-inf"))[:, None])
    return masks[0], masks[1]


def attention(q: Tensor, k: Tensor, v: Tensor, mask: Tensor, heads: int) -> Tensor:
    """(B, N, D) queries, keys, values and a (B, 1, N, N) mask -> (B, N, D)."""
    batch, length, width = q.shape
    q, k, v = (x.reshape(batch, length, heads, -1).permute(0, 2, 1, 3) for x in (q, k, v))
    scores = q @ k.transpose(-2, -1) * (width // heads) ** -0.5 + mask
    return (scores.softmax(dim=-1) @ v).permute(0, 2, 1, 3).reshape(batch, length, width)


def norm(x: Tensor, layer: nn.Module) -> Tensor:
    """LayerNorm over the width, with eps 1e-6 as everywhere in the authors' code."""
    return F.layer_norm(x, x.shape[-1:], layer.weight, layer.bias, eps=1e-6)


def mlp(x: Tensor, first: nn.Linear, second: nn.Linear) -> Tensor:
    """Linear, exact GELU, Linear."""
    x = F.linear(x, first.weight, first.bias)
    return F.linear(F.gelu(x), second.weight, second.bias)


def feed_forward(x: Tensor, layer: nn.Module) -> Tensor:
    """The second half of a block, with its residual."""
    first, second = layer.ffn.layers[0][0], layer.ffn.layers[1]
    return x + mlp(norm(x, layer.ln2), first, second)


def project(x: Tensor, attn: nn.Module, parts: str) -> list[Tensor]:
    """(B, N, D) -> those of 'q', 'k', 'v' that ``parts`` names, from fused or separate weights."""
    if not hasattr(attn, "qkv"):
        return [F.linear(x, getattr(attn, p).weight, getattr(attn, p).bias) for p in parts]
    fused = F.linear(x, attn.qkv.weight, attn.qkv.bias).chunk(3, dim=-1)
    return [fused["qkv".index(part)] for part in parts]


class DenseSemAIM(nn.Module):
    """SemAIM with dense masks, on the weights of ``model`` (no drop path, no LayerScale)."""

    def __init__(self, model: nn.Module):
        super().__init__()
        self.model = model.module if is_model_wrapper(model) else model
        self.heads = self.model.backbone.arch_settings["num_heads"]
        self.query_depth = self.model.neck.depth // self.model.neck.stride

    def content_block(self, x: Tensor, layer: nn.Module, mask: Tensor) -> Tensor:
        """(B, N, D) -> (B, N, D)."""
        seen = attention(*project(norm(x, layer.ln1), layer.attn, "qkv"), mask, self.heads)
        x = x + F.linear(seen, layer.attn.proj.weight, layer.attn.proj.bias)
        return feed_forward(x, layer)

    def query_block(self, g: Tensor, h: Tensor, layer: nn.Module, mask: Tensor) -> Tensor:
        """(B, N, D) queries g over (B, N, D) content h -> (B, N, D); one norm serves both."""
        (q,) = project(norm(g, layer.ln1), layer.attn, "q")
        k, v = project(norm(h, layer.ln1), layer.attn, "kv")
        g = g + F.linear(
            attention(q, k, v, mask, self.heads), layer.attn.proj.weight, layer.attn.proj.bias
        )
        return feed_forward(g, layer)

    def tokens(self, imgs: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B, N, D): CLS and patches in raster order, with positions."""
        backbone = self.model.backbone
        conv = backbone.patch_embed.projection
        patches = F.conv2d(imgs, conv.weight, conv.bias, stride=conv.stride).flatten(2)
        patches = patches.transpose(1, 2) + backbone.pos_embed[:, 1:]
        cls = (backbone.cls_token + backbone.pos_embed[:, :1]).expand(len(imgs), -1, -1)
        return torch.cat([cls, patches], dim=1)

    def encode(self, imgs: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B, N, D): the content stream without a mask, normed."""
        x = self.tokens(imgs)
        nothing_hidden = x.new_zeros(1, 1, x.shape[1], x.shape[1])
        for layer in self.model.backbone.layers:
            x = self.content_block(x, layer, nothing_hidden)
        return norm(x, self.model.backbone.ln1)

    def predict(self, imgs: Tensor, keys: Tensor) -> Tensor:
        """(B, 3, H, W), (B, L) keys, smaller first -> (B, L, P), in raster order."""
        backbone, neck, head = self.model.backbone, self.model.neck, self.model.head
        h = self.tokens(imgs)
        g = backbone.pos_embed.expand(len(imgs), -1, -1)
        content_mask, query_mask = additive_masks(keys, h.dtype)
        stride = len(backbone.layers) // self.query_depth
        for number, layer in enumerate(backbone.layers, start=1):
            h = self.content_block(h, layer, content_mask)
            if number % stride == 0:
                own = layer if neck.share_weights else neck.layers[number // stride - 1]
                g = self.query_block(g, h, own, query_mask)
        g = norm(g, backbone.ln1)[:, 1:]
        if head.projection == "linear":
            return F.linear(g, head.fc.weight, head.fc.bias)
        return mlp(g, head.fc1, head.fc2)

    def forward(self, imgs: Tensor, keys: Tensor, target: Tensor) -> Tensor:
        """(B, 3, H, W), (B, L) keys, (B, L, P) target -> (B, L) loss per patch, raster order."""
        return patch_loss(self.predict(imgs, keys), target, self.model.head.loss_name)


def patch_loss(prediction: Tensor, target: Tensor, name: str) -> Tensor:
    """(B, L, P) twice -> (B, L)."""
    if name == "l2":
        return ((prediction - target) ** 2).mean(dim=-1)
    if name == "l1":
        return (prediction - target).abs().mean(dim=-1)
    dots = (prediction * target).sum(dim=-1)
    return 2 - 2 * dots / (prediction.norm(dim=-1) * target.norm(dim=-1))
