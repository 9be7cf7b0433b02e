"""What features look like: attention of CLS by head, nearest pictures, patches as colours.

Legend: B pictures, L patches, D embed_dims; features are unmasked, as downstream.
"""

from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor

from semaim_mm.pretrain import SemAIM


@torch.no_grad()
def class_attention(model: SemAIM, imgs: Tensor) -> np.ndarray:
    """(B, 3, H, W) -> (B, heads, L): attention of CLS to patches in the last block, by head."""
    backbone = model.backbone
    tokens = backbone.encode(imgs, blocks=len(backbone.layers) - 1)
    last = backbone.layers[-1]
    heads = last.attn.class_attention(last.ln1(tokens))
    return heads[..., backbone.num_extra_tokens :].numpy()


@torch.no_grad()
def neighbours(model: SemAIM, batches: Iterable[Tensor], k: int = 5) -> np.ndarray:
    """(b, 3, H, W) each, B in all -> (B, k): every picture's nearest others.

    By cosine of mean patch tokens.
    """
    features = torch.cat([model.encode(imgs)[:, 1:].mean(dim=1) for imgs in batches])
    features = torch.nn.functional.normalize(features, dim=-1)
    similar = (features @ features.T).fill_diagonal_(-torch.inf)
    return similar.topk(min(k, len(features) - 1), dim=1).indices.numpy()


@torch.no_grad()
def patch_colours(model: SemAIM, imgs: Tensor) -> np.ndarray:
    """(B, 3, H, W) -> (B, rows, columns, 3) in 0..1: three principal components over all patches.

    Every component is stretched from its 2nd to its 98th percentile.
    """
    tokens = model.encode(imgs)[:, 1:]
    flat = tokens.flatten(0, 1).double()
    flat = flat - flat.mean(dim=0)
    _, _, directions = torch.linalg.svd(flat, full_matrices=False)
    parts = (flat @ directions[:3].T).numpy()
    low, high = np.percentile(parts, [2, 98], axis=0)
    colours = np.clip((parts - low) / np.maximum(high - low, 1e-12), 0, 1)
    return colours.reshape(len(imgs), *model.backbone.patch_resolution, 3)
