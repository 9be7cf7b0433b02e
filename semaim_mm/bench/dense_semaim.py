"""SemAIM with a dense additive mask in every block: the baseline of the pretraining benchmark.

Laid out as the authors' code works and named as their state dict is, so that their weights load
as they are: tokens in raster order, masks for every image built from its keys and added to explicit
scores, queries with a CLS row that is dropped at the end, and a similarity pass over all blocks in
which the last one runs twice, the first time for its attention alone.
Legend: B images, L patches, N = 1 + L tokens, D width, P target width.
"""

from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from semaim_mm.errors import InputError
from semaim_mm.interop.authors import to_authors
from semaim_mm.pretrain.semaim import SemAIM
from semaim_mm.pretrain.targets import normalize_patches, patchify

LayerNorm = partial(nn.LayerNorm, eps=1e-6)


def masks_of(keys: Tensor) -> tuple[Tensor, Tensor]:
    """(B, L) keys, smaller first -> content and query mask, each (B, 1, N, N): 0 or -inf.

    Content sees CLS and keys up to its own, a query CLS and smaller keys; CLS sees itself.
    """
    batch, length = keys.shape
    masks = []
    for hidden in (keys[:, None, :] > keys[:, :, None], keys[:, None, :] >= keys[:, :, None]):
        mask = torch.zeros(batch, 1 + length, 1 + length, device=keys.device)
        mask[:, 0, 1:] = float("-inf")
        mask[:, 1:, 1:].masked_fill_(hidden, float("-inf"))
        masks.append(mask[:, None])
    return masks[0], masks[1]


class Attention(nn.Module):
    """Explicit softmax attention; ``fused`` projects queries, keys and values at once."""

    def __init__(self, width: int, heads: int, fused: bool):
        super().__init__()
        self.heads = heads
        if fused:
            self.qkv = nn.Linear(width, 3 * width)
        else:
            self.q, self.k, self.v = (nn.Linear(width, width) for _ in range(3))
        self.proj = nn.Linear(width, width)

    def split(self, x: Tensor) -> Tensor:
        """(B, N, D) -> (B, heads, N, D / heads)."""
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)

    def forward(self, x: Tensor, content: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
        """(B, N, D) queries and content -> (B, N, D), attention (B, heads, N, N)."""
        if hasattr(self, "qkv"):
            parts = self.qkv(x).chunk(3, dim=-1)
        else:
            parts = self.q(x), self.k(content), self.v(content)
        q, k, v = map(self.split, parts)
        scores = (q @ k.transpose(-2, -1)) * q.shape[-1] ** -0.5
        attention = (scores if mask is None else scores + mask).softmax(dim=-1)
        return self.proj((attention @ v).transpose(1, 2).flatten(2)), attention


class Block(nn.Module):
    """Pre-norm block; a query block (not ``fused``) norms content by the same norm as queries."""

    def __init__(self, width: int, heads: int, hidden: int, fused: bool):
        super().__init__()
        self.norm1, self.norm2 = LayerNorm(width), LayerNorm(width)
        self.attn = Attention(width, heads, fused)
        self.mlp = mlp(width, hidden, width)

    def forward(self, x: Tensor, mask: Tensor | None, content: Tensor | None = None) -> Tensor:
        """(B, N, D) -> (B, N, D)."""
        normed = self.norm1(x)
        seen, _ = self.attn(normed, normed if content is None else self.norm1(content), mask)
        x = x + seen
        return x + self.mlp(self.norm2(x))


def mlp(width: int, hidden: int, out: int) -> nn.Sequential:
    """Linear, exact GELU, Linear under the authors' names."""
    parts = dict(fc1=nn.Linear(width, hidden), act=nn.GELU(), fc2=nn.Linear(hidden, out))
    made = nn.Sequential()
    for name, part in parts.items():
        made.add_module(name, part)
    return made


class DenseSemAIM(nn.Module):
    """The baseline, with the shape and a copy of the weights of ``model``.

    Raises InputError for what it has no code for: shared decoder weights, a target that is no
    pixels, an order other than the semantic one by CLS.
    """

    def __init__(self, model: SemAIM):
        super().__init__()
        backbone, head = model.backbone, model.head
        kinds = type(model.target_generator).__name__, type(model.order).__name__
        told = model.neck.share_weights, head.projection, head.loss_name, model.order.similarity
        if (*kinds, *told) != ("PixelTarget", "SemanticOrder", False, "mlp", "l2", "cls"):
            raise InputError(
                "The dense-mask baseline has the recipe of configs/pretrain/semaim_vitb.py alone "
                "(pixels, L2, MLP head, semantic order by CLS, own decoder weights); benchmark "
                "that one."
            )
        width, settings = backbone.embed_dims, backbone.arch_settings
        shape = width, settings["num_heads"], settings["feedforward_channels"]
        queries = len(model.neck.layers)
        self.stride, self.patch_size = model.neck.stride, backbone.patch_size
        self.grid, self.normalize = backbone.patch_resolution, model.target_generator.normalize
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        self.pos_embed = nn.Parameter(torch.zeros_like(backbone.pos_embed), requires_grad=False)
        self.patch_embed = nn.Module()
        self.patch_embed.proj = nn.Conv2d(3, width, self.patch_size, self.patch_size)
        self.blocks = nn.ModuleList(Block(*shape, fused=True) for _ in backbone.layers)
        self.query_blocks = nn.ModuleList(Block(*shape, fused=False) for _ in range(queries))
        self.norm = LayerNorm(width)
        self.prediction_head = mlp(width, 4 * width, head.out_dims)
        self.gaussian_blur = None
        if model.target_generator.blur_kernel is not None:
            side = model.target_generator.blur_kernel
            self.gaussian_blur = nn.Conv2d(
                3, 3, side, padding=side // 2, groups=3, bias=False
            ).requires_grad_(False)
        self.load_state_dict({name: value.clone() for name, value in to_authors(model).items()})

    def embed(self, imgs: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B, N, D): CLS and patches in raster order, with positions."""
        patches = self.patch_embed.proj(imgs).flatten(2).transpose(1, 2) + self.pos_embed[:, 1:]
        cls = (self.cls_token + self.pos_embed[:, :1]).expand(len(imgs), -1, -1)
        return torch.cat([cls, patches], dim=1)

    @torch.no_grad()
    def similarity(self, imgs: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B, L) map; every block without a mask, the last one twice."""
        self.eval()
        x = self.embed(imgs)
        for block in self.blocks[:-1]:
            x = block(x, None)
        normed = self.blocks[-1].norm1(x)
        self.blocks[-1].attn(normed, normed, None)
        x = self.norm(self.blocks[-1](x, None))
        self.train()
        return F.cosine_similarity(x[:, :1], x[:, 1:], dim=-1).softmax(dim=-1)

    def keys(self, imgs: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B, L): distance in patches to the map's peak, ties broken by noise."""
        peak = self.similarity(imgs).argmax(dim=1)
        rows, columns = self.grid
        place = torch.arange(rows * columns, device=imgs.device)
        down = place // columns - (peak // columns)[:, None]
        across = place % columns - (peak % columns)[:, None]
        distance = (down**2 + across**2).float().sqrt()
        return distance + 1e-3 * torch.rand_like(distance)

    def predict(self, imgs: Tensor, keys: Tensor) -> Tensor:
        """(B, 3, H, W), (B, L) keys -> (B, L, P) in raster order."""
        h, g = self.embed(imgs), self.pos_embed.expand(len(imgs), -1, -1)
        content_mask, query_mask = masks_of(keys)
        for number, block in enumerate(self.blocks, start=1):
            h = block(h, content_mask)
            if number % self.stride == 0:
                g = self.query_blocks[number // self.stride - 1](g, query_mask, h)
        return self.prediction_head(self.norm(g))[:, 1:]

    def target(self, imgs: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B, L, P): blurred pixels, every patch normalised."""
        with torch.no_grad():
            imgs = imgs if self.gaussian_blur is None else self.gaussian_blur(imgs)
            patches = patchify(imgs, self.patch_size)
            return normalize_patches(patches) if self.normalize else patches

    def forward(self, imgs: Tensor, keys: Tensor) -> Tensor:
        """(B, 3, H, W), (B, L) keys -> the loss, a scalar."""
        return (self.predict(imgs, keys) - self.target(imgs)).square().mean()
