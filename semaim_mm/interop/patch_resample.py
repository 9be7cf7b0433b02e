"""A patch embedding for patches of another size (FlexiViT, arXiv 2212.08013, sec. 3.4).

Legend: D width, C channels, p and q sides of a patch before and after.
"""

import torch
import torch.nn.functional as F
from torch import Tensor


def resample_patches(weight: Tensor, size: int) -> Tensor:
    """(D, C, p, p) -> (D, C, q, q): the embedding of a resized patch is that of the patch.

    Exactly so where q >= p (bicubic with antialias, as the pseudo-inverse undoes it), in the least
    squares' sense below.
    """
    old = weight.shape[-1]
    if old == size:
        return weight
    basis = torch.eye(old * old, dtype=torch.float64).reshape(-1, 1, old, old)
    resized = F.interpolate(basis.float(), size=(size, size), mode="bicubic", antialias=True)
    inverse = torch.linalg.pinv(resized.flatten(1).double())
    flat = weight.double().flatten(2) @ inverse.T
    return flat.reshape(*weight.shape[:2], size, size).to(weight.dtype)
