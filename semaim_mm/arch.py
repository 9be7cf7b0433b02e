"""Sizes of a plain ViT: from a name or a dict to numbers that fit together."""

import re
from collections.abc import Mapping, Sequence

from semaim_mm.errors import InputError

SIZES = {
    "tiny": (192, 12, 3),
    "small": (384, 12, 6),
    "base": (768, 12, 12),
    "large": (1024, 24, 16),
    "huge": (1280, 32, 16),
}
NAMED = re.compile(r"ViT-(?:([a-z]+)|\d+x(\d+))/\d+")


def vit_arch(embed_dims: int, num_layers: int, num_heads: int, mlp_ratio: float = 4) -> dict:
    """Numbers of a plain ViT -> the ``arch`` dict that mmpretrain's VisionTransformer takes."""
    return dict(
        embed_dims=embed_dims,
        num_layers=num_layers,
        num_heads=num_heads,
        feedforward_channels=int(embed_dims * mlp_ratio),
    )


def settle_arch(arch: str | Mapping) -> Mapping:
    """A name of SIZES or a dict -> the dict. Raises InputError for an unknown or odd one."""
    if isinstance(arch, str):
        if arch not in SIZES:
            raise InputError(
                f"SemAIMViT has no arch {arch!r}; choose one of {', '.join(SIZES)}, or give a "
                "dict with embed_dims, num_layers, num_heads and feedforward_channels."
            )
        arch = vit_arch(*SIZES[arch])
    if arch["embed_dims"] % arch["num_heads"]:
        raise InputError(
            f"SemAIMViT: num_heads={arch['num_heads']} does not divide "
            f"embed_dims={arch['embed_dims']}; choose a number of heads that does."
        )
    return arch


def settle_size(img_size: int | Sequence[int], patch_size: int) -> tuple[int, int]:
    """-> height and width in pixels. Raises InputError where patches do not tile them."""
    height, width = (img_size, img_size) if isinstance(img_size, int) else img_size
    if height % patch_size or width % patch_size or min(height, width) < patch_size:
        raise InputError(
            f"SemAIMViT: img_size={img_size} is not a multiple of patch_size={patch_size}; "
            f"the nearest that is: {max(1, round(height / patch_size)) * patch_size} x "
            f"{max(1, round(width / patch_size)) * patch_size}."
        )
    return height, width


def arch_name(backbone: Mapping) -> str:
    """A config's backbone -> what results call it: 'ViT-base/16', or 'ViT-96x4/8' of 4 blocks."""
    arch = backbone.get("arch")
    if arch is None:
        return backbone.get("type", "unknown")
    size = arch if isinstance(arch, str) else f"{arch['embed_dims']}x{arch['num_layers']}"
    return f"ViT-{size}/{backbone.get('patch_size', 16)}"


def depth_of(name: str) -> int | None:
    """What ``arch_name`` gave -> the number of blocks, None where the name does not tell."""
    found = NAMED.fullmatch(name)
    if found is None:
        return None
    size, depth = found.groups()
    return int(depth) if depth else SIZES[size][1] if size in SIZES else None
