"""Complete an image from its first patches: one patch a step, with cached keys and values.

Legend: B images, L patches, D embed_dims, P patch_size^2 x 3, H heads; generation order.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from semaim_mm.errors import InputError
from semaim_mm.layers import gather_tokens
from semaim_mm.pretrain import PixelTarget, SemAIM
from semaim_mm.pretrain.targets.pixels import patchify, unpatchify


def check_generates(model: SemAIM) -> None:
    """Raise InputError unless the model can feed its own predictions back."""
    target, order = model.target_generator, model.order
    raw = isinstance(target, PixelTarget) and target.blur_kernel is None and not target.normalize
    if not raw or order.similarity is not None:
        raise InputError(
            "Only a leaf with raw pixel targets (no blur, no per-patch normalisation) and an order "
            "that does not need the whole image can feed its own predictions back; this one has "
            f"{type(target).__name__}"
            + (
                f" (blur_kernel={target.blur_kernel}, normalize={target.normalize})"
                if isinstance(target, PixelTarget)
                else ""
            )
            + f" and {type(order).__name__}. Pretrain configs/pretrain/semaim_tiny_raw-pixels.py, "
            "or a leaf like it."
        )
    if getattr(model.head, "loss_name", None) == "unit_l2":
        raise InputError(
            "This leaf's head has the loss 'unit_l2', which compares directions alone, so its "
            "predictions have no scale and can't be fed back as pixels; pretrain with "
            "model.head.loss='l2' or 'l1'."
        )


class _Cache:
    """Keys and values of the tokens so far, (B, H, n, D / H)."""

    def __init__(self):
        self.k = self.v = None

    def attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Heads of one new query, key and value -> (B, 1, D): it attends to all so far."""
        self.k = k if self.k is None else torch.cat([self.k, k], dim=2)
        self.v = v if self.v is None else torch.cat([self.v, v], dim=2)
        return F.scaled_dot_product_attention(q, self.k, self.v).transpose(1, 2).flatten(2)


class _Streams:
    """Both streams, one token at a time."""

    def __init__(self, model: SemAIM):
        self.backbone, self.neck, self.head = model.backbone, model.neck, model.head
        layers = self.backbone.layers
        self.read = layers[self.neck.stride - 1 :: self.neck.stride]
        self.blocks = self.read if self.neck.share_weights else self.neck.layers
        self.content_caches = [_Cache() for _ in layers]
        self.query_caches = [_Cache() for _ in self.blocks]

    def step(self, token: Tensor, query: Tensor) -> Tensor:
        """(B, 1, D) the next content token, (B, 1, D) a position -> (B, P) its prediction."""
        states = []
        for number, (layer, cache) in enumerate(
            zip(self.backbone.layers, self.content_caches, strict=True), start=1
        ):
            heads = layer.attn.split_heads(layer.ln1(token))
            token = token + layer.attn.project(cache.attend(*heads))
            token = layer.ffn(layer.ln2(token), identity=token)
            if number % self.neck.stride == 0:
                states.append(token)
        for block, cache, state in zip(self.blocks, self.query_caches, states, strict=True):
            query = query + self._attend(block, cache, block.ln1(query), block.ln1(state))
            query = block.ffn(block.ln2(query), identity=query)
        return self.head(self.backbone.ln1(query))[:, 0]

    def _attend(self, block: nn.Module, cache: _Cache, query: Tensor, content: Tensor) -> Tensor:
        attn = block.attn
        if self.neck.share_weights:
            q, _, _ = attn.split_heads(query)
            _, k, v = attn.split_heads(content)
            return attn.project(cache.attend(q, k, v))
        q, k, v = (
            linear(x).unflatten(-1, (attn.num_heads, -1)).transpose(1, 2)
            for linear, x in ((attn.q, query), (attn.k, content), (attn.v, content))
        )
        return attn.out_drop(attn.proj(cache.attend(q, k, v)))


@torch.no_grad()
def rollout(model: SemAIM, imgs: Tensor, order: Tensor, given: int) -> tuple[Tensor, Tensor]:
    """Predict patches one by one; after the first ``given`` true ones, from predictions alone.

    Args:
        imgs: (B, 3, H, W), normalised; order: (B, L) patch indices; model: in eval mode.
        given: how many true patches are fed, 0 to L; with L it is teacher forcing.

    -> (B, L, P) predictions in generation order, and the completed images (B, 3, H, W).
    Raises InputError for a model that can't generate, or a ``given`` out of range.
    """
    check_generates(model)
    length = order.shape[1]
    if not 0 <= given <= length:
        raise InputError(f"given={given} is not between 0 and the {length} patches of an image.")
    backbone, size = model.backbone, model.backbone.patch_size
    grid = (imgs.shape[2] // size, imgs.shape[3] // size)
    positions = backbone.positions(grid)
    extra = backbone.num_extra_tokens
    queries = gather_tokens(positions[:, extra:].expand(len(imgs), -1, -1), order)
    patches = gather_tokens(patchify(imgs, size), order)  # beyond `given` filled step by step
    streams, predictions = _Streams(model), []
    *idle, token = model.front_tokens(len(imgs), positions).split(1, dim=1)
    for first in idle:  # read by later queries, predicts nothing
        streams.step(first, torch.zeros_like(first))
    for rank in range(length):
        query = queries[:, rank : rank + 1]
        prediction = streams.step(token, query)
        predictions.append(prediction)
        if rank >= given:
            patches[:, rank] = prediction
        pixels = unpatchify(patches[:, rank : rank + 1], (1, 1))
        token = backbone.patch_embed(pixels)[0] + query
    raster = gather_tokens(patches, order.argsort(dim=1))
    return torch.stack(predictions, dim=1), unpatchify(raster, grid)
