"""Pixels as the target (arXiv 2312.10457, sec. 3.4): cut, blurred and normalised patches.

Legend: B images, L patches, P target width.
"""

import torch
import torch.nn.functional as F
from mmengine.model import BaseModule
from mmpretrain.registry import MODELS
from torch import Tensor

from semaim_mm.errors import InputError
from semaim_mm.layers import widen
from semaim_mm.pretrain.targets.base import Target


def patchify(imgs: Tensor, patch_size: int) -> Tensor:
    """(B, C, H, W) -> (B, L, patch_size^2 * C), channel fastest, as in the authors' code."""
    batch, channels, height, width = imgs.shape
    if height % patch_size or width % patch_size:
        raise InputError(
            f"Images of {height} x {width} pixels can't be cut into patches of {patch_size}; crop "
            "or resize them to a multiple in the data set's pipeline."
        )
    rows, columns = height // patch_size, width // patch_size
    x = imgs.reshape(batch, channels, rows, patch_size, columns, patch_size)
    return x.permute(0, 2, 4, 3, 5, 1).reshape(batch, rows * columns, -1)


def unpatchify(patches: Tensor, grid: tuple[int, int], channels: int = 3) -> Tensor:
    """(B, L, patch_size^2 * C) -> (B, C, H, W), the inverse of ``patchify``."""
    batch, _, width = patches.shape
    size = round((width / channels) ** 0.5)
    x = patches.reshape(batch, *grid, size, size, channels)
    return x.permute(0, 5, 1, 3, 2, 4).reshape(batch, channels, grid[0] * size, grid[1] * size)


def normalize_patches(patches: Tensor, eps: float = 1e-6) -> Tensor:
    """(B, L, P) -> (B, L, P) with zero mean and unit variance (unbiased) in every patch."""
    variance, mean = torch.var_mean(patches, dim=-1, keepdim=True)
    return (patches - mean) * (variance + eps).rsqrt()


@MODELS.register_module()
class PixelTarget(BaseModule):
    """Pixels of the (blurred) normalised image.

    Args:
        blur_kernel: side of the Gaussian in pixels, odd; None for no blur. The border is padded
            with zeros, as the authors do.
        blur_sigma: its standard deviation in pixels.
        normalize: zero mean and unit variance in every patch.
    """

    gives_tokens = False

    def __init__(
        self,
        patch_size: int = 16,
        blur_kernel: int | None = 9,
        blur_sigma: float = 1.0,
        normalize: bool = True,
    ):
        super().__init__()
        if blur_kernel is not None and (blur_kernel < 1 or blur_kernel % 2 == 0 or blur_sigma <= 0):
            raise InputError(
                f"PixelTarget: blur_kernel={blur_kernel} must be odd and blur_sigma={blur_sigma} "
                "positive; set blur_kernel=None for no blur."
            )
        self.patch_size, self.blur_kernel, self.blur_sigma = patch_size, blur_kernel, blur_sigma
        self.normalize = normalize
        self.out_dims = patch_size * patch_size * 3
        if blur_kernel is not None:
            offset = torch.arange(blur_kernel, dtype=torch.float64) - blur_kernel // 2
            profile = torch.exp(-offset.square() / (2 * blur_sigma**2))
            self.register_buffer("profile", (profile / profile.sum()).float(), persistent=False)

    def blur(self, imgs: Tensor) -> Tensor:
        """(B, C, H, W) -> the same, by two one-dimensional passes."""
        if self.blur_kernel is None:
            return imgs
        channels, half = imgs.shape[1], self.blur_kernel // 2
        column = self.profile.view(1, 1, -1, 1).expand(channels, -1, -1, -1)
        imgs = F.conv2d(imgs, column, padding=(half, 0), groups=channels)
        return F.conv2d(imgs, column.transpose(2, 3), padding=(0, half), groups=channels)

    @torch.no_grad()
    def forward(self, imgs: Tensor) -> Target:
        """(B, 3, H, W) -> values (B, L, patch_size^2 * 3), float32."""
        with torch.autocast(imgs.device.type, enabled=False):
            patches = patchify(self.blur(widen(imgs)), self.patch_size)
            return Target(normalize_patches(patches) if self.normalize else patches)
