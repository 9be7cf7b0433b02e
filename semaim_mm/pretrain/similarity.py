"""Similarity maps (arXiv 2312.10457, sec. 3.2, eq. 4): how semantic each patch is.

Legend: B images, L patches, D embed_dims. Maps are (B, L) float32; only their order matters to
the generation orders.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from semaim_mm.layers import widen

SOURCES = ("cls", "gap", "self")


def token_similarity(tokens: Tensor, source: str) -> Tensor:
    """(B, 1 + L, D) normalised tokens, CLS first -> (B, L) softmax over patches of the cosine.

    ``cls`` compares every patch with the CLS token, ``gap`` with the mean of the patches.
    """
    tokens = widen(tokens)  # a norm and cosine in half precision moved 1.5 to 5 % of peaks
    patches = tokens[:, 1:]
    anchor = tokens[:, :1] if source == "cls" else patches.mean(dim=1, keepdim=True)
    return F.cosine_similarity(anchor, patches, dim=-1).softmax(dim=-1)


def similarity_map(backbone, imgs: Tensor, source: str) -> Tensor:
    """(B, 3, H, W) -> (B, L) map of a SemAIMViT, unmasked; call it without gradient, in eval mode.

    ``self`` is the CLS row of the last block's attention, averaged over heads and not
    renormalised: of that block only its norm, one query and the keys are computed.
    """
    if source == "self":
        tokens = backbone.encode(imgs, blocks=len(backbone.layers) - 1)
        last = backbone.layers[-1]
        heads = last.attn.class_attention(last.ln1(tokens))
        return heads.mean(dim=1)[:, backbone.num_extra_tokens :]
    tokens = backbone.without_registers(backbone.encode(imgs, blocks=len(backbone.layers)))
    with torch.autocast(tokens.device.type, enabled=False):
        return token_similarity(backbone.ln1(widen(tokens)), source)
