"""The backbone: image -> patches -> content stream. The same class downstream.

Legend: B images, L patches, D embed_dims. mmpretrain's VisionTransformer underneath, so its
heads, layer-wise decay, position-embedding resize and ``out_type``s all work.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from mmengine.model import ModuleList
from mmpretrain.models import VisionTransformer
from mmpretrain.models.utils import resize_pos_embed
from mmpretrain.registry import MODELS
from torch import Tensor, nn

from semaim_mm.errors import InputError
from semaim_mm.interop.backbone_checkpoint import load_backbone_weights
from semaim_mm.layers import ContentLayer
from semaim_mm.pos_embed import sincos_pos_embed
from semaim_mm.rel_pos import Relation, relate

SIZES = {
    "tiny": (192, 12, 3),
    "small": (384, 12, 6),
    "base": (768, 12, 12),
    "large": (1024, 24, 16),
    "huge": (1280, 32, 16),
}


def vit_arch(embed_dims: int, num_layers: int, num_heads: int, mlp_ratio: float = 4) -> dict:
    """Numbers of a plain ViT -> the ``arch`` dict that mmpretrain's VisionTransformer takes."""
    return dict(
        embed_dims=embed_dims,
        num_layers=num_layers,
        num_heads=num_heads,
        feedforward_channels=int(embed_dims * mlp_ratio),
    )


@MODELS.register_module()
class SemAIMViT(VisionTransformer):
    """Plain ViT with a causal mode for pretraining.

    Args:
        arch: 'tiny', 'small', 'base', 'large', 'huge' (ViT-Ti/S/B/L/H as in the paper's field,
            not mmpretrain's 'small'), or a dict as mmpretrain takes it.
        img_size: height and width in pixels, or one number; multiples of ``patch_size``.
        frozen_pos_embed: keep the position embedding fixed (pretraining); downstream it trains.
        num_registers: register tokens between CLS and patches (DINOv2); ``pos_embed`` has a row
            for every such token too, zero where a model adds no position to it.
        rel_pos_bias: BEiT's relative-position bias in every block, for downstream models.
        init_cfg: ``dict(type='BackboneCheckpoint', checkpoint=..., new_keys=[...])`` loads weights
            strictly, from any family that semaim_mm.interop knows; other keys are those of
            ``load_backbone_weights``. ``Pretrained`` is read the same way, so that nothing loads
            silently.
        **kwargs: those of mmpretrain's VisionTransformer.

    Raises:
        InputError: a size that patches do not tile, an unknown arch.
    """

    def __init__(
        self,
        arch: str | dict = "base",
        img_size: int | Sequence[int] = 224,
        patch_size: int = 16,
        drop_path_rate: float = 0.0,
        frozen_pos_embed: bool = False,
        out_indices: int | Sequence[int] = -1,
        layer_cfgs: dict | Sequence[dict] | None = None,
        num_registers: int = 0,
        rel_pos_bias: bool = False,
        **kwargs,
    ):
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
        height, width = (img_size, img_size) if isinstance(img_size, int) else img_size
        if height % patch_size or width % patch_size or min(height, width) < patch_size:
            raise InputError(
                f"SemAIMViT: img_size={img_size} is not a multiple of patch_size={patch_size}; "
                f"the nearest that is: {max(1, round(height / patch_size)) * patch_size} x "
                f"{max(1, round(width / patch_size)) * patch_size}."
            )
        super().__init__(
            arch=arch,
            img_size=(height, width),
            patch_size=patch_size,
            drop_path_rate=drop_path_rate,
            out_indices=out_indices if isinstance(out_indices, int) else list(out_indices),
            **kwargs,
        )
        self.patch_size = patch_size
        self.frozen_pos_embed = frozen_pos_embed
        self.rel_pos_bias = rel_pos_bias
        if rel_pos_bias and (num_registers or self.cls_token is None):
            raise InputError(
                "SemAIMViT: rel_pos_bias=True has rows for one CLS token and patches; leave "
                "num_registers at 0 and with_cls_token at True with it."
            )
        self._add_registers(num_registers)
        self.layers = self._build_layers(drop_path_rate, layer_cfgs or {}, kwargs)
        self._reset_pos_embed()
        if self.frozen_stages > 0:
            self._freeze_stages()

    def _add_registers(self, number: int) -> None:
        self.register_tokens = None
        if number:
            self.register_tokens = nn.Parameter(torch.zeros(1, number, self.embed_dims))
            self.num_extra_tokens = number + (self.cls_token is not None)
            length = self.num_extra_tokens + self.patch_resolution[0] * self.patch_resolution[1]
            self.pos_embed = nn.Parameter(torch.zeros(1, length, self.embed_dims))

    def _build_layers(
        self, drop_path_rate: float, layer_cfgs: dict | Sequence[dict], kwargs: dict
    ) -> ModuleList:
        if isinstance(layer_cfgs, dict):
            layer_cfgs = [layer_cfgs] * self.num_layers
        shared = dict(
            embed_dims=self.embed_dims,
            num_heads=self.arch_settings["num_heads"],
            feedforward_channels=self.arch_settings["feedforward_channels"],
            layer_scale_init_value=kwargs.get("layer_scale_init_value", 0.0),
            drop_rate=kwargs.get("drop_rate", 0.0),
            qkv_bias=kwargs.get("qkv_bias", True),
            norm_cfg=kwargs.get("norm_cfg", dict(type="LN", eps=1e-6)),
            rel_pos_window=tuple(self.patch_resolution) if self.rel_pos_bias else None,
        )
        # Python floats: a numpy rate in drop path breaks torch.compile's graph
        rates = np.linspace(0, drop_path_rate, self.num_layers).tolist()
        return ModuleList(
            ContentLayer(**{**shared, "drop_path_rate": rate, **cfg})
            for rate, cfg in zip(rates, layer_cfgs, strict=True)
        )

    def _reset_pos_embed(self) -> None:
        table = sincos_pos_embed(self.patch_resolution, self.embed_dims, self.num_extra_tokens)
        with torch.no_grad():
            self.pos_embed.copy_(table)
        self.pos_embed.requires_grad = not self.frozen_pos_embed and self.frozen_stages <= 0

    def init_weights(self) -> None:
        """Initialise as the authors do, or load ``init_cfg``'s checkpoint strictly."""
        for layer in self.layers:
            layer.init_weights()
        weight = self.patch_embed.projection.weight
        nn.init.xavier_uniform_(weight.view(weight.shape[0], -1))
        if self.cls_token is not None:
            nn.init.normal_(self.cls_token, std=0.02)
        if self.register_tokens is not None:
            nn.init.normal_(self.register_tokens, std=0.02)
        self._reset_pos_embed()
        cfgs = self.init_cfg if isinstance(self.init_cfg, list) else [self.init_cfg]
        for cfg in filter(None, cfgs):
            if cfg["type"] not in ("BackboneCheckpoint", "Pretrained"):
                raise InputError(
                    f"SemAIMViT knows no init_cfg of type {cfg['type']!r}; it starts as the "
                    "authors' code does, or from dict(type='BackboneCheckpoint', checkpoint=...)."
                )
            if not cfg.get("checkpoint"):
                raise InputError(
                    "The backbone's init_cfg names no checkpoint: set model.backbone.init_cfg."
                    "checkpoint=PATH, or model.backbone.init_cfg=None to start untrained."
                )
            told = {key: value for key, value in cfg.items() if key not in ("type", "checkpoint")}
            self.coverage = load_backbone_weights(self, cfg["checkpoint"], **told)
        self._is_init = True

    def train(self, mode: bool = True) -> "SemAIMViT":
        """Set the mode; frozen stages stay in eval mode (mmpretrain's flip back)."""
        nn.Module.train(self, mode)
        if mode and self.frozen_stages > 0:
            self._freeze_stages()
        return self

    def stream_shape(self) -> dict:
        """What a query stream beside this content stream takes as its own shape."""
        return dict(
            embed_dims=self.embed_dims,
            num_heads=self.arch_settings["num_heads"],
            depth=self.num_layers,
            mlp_ratio=self.arch_settings["feedforward_channels"] / self.embed_dims,
        )

    # --- what pretraining needs -------------------------------------------------------------

    def embed(self, imgs: Tensor) -> tuple[Tensor, Tensor, tuple[int, int]]:
        """(B, 3, H, W) -> patch tokens (B, L, D) with positions, positions (1, L, D), the grid."""
        patches, grid = self.patch_embed(imgs)
        positions = self.positions(grid)
        return patches + positions[:, self.num_extra_tokens :], positions, grid

    def positions(self, grid: tuple[int, int]) -> Tensor:
        """(rows, columns) -> (1, 1 + L, D): the table, interpolated for another grid."""
        return resize_pos_embed(
            self.pos_embed,
            self.patch_resolution,
            grid,
            mode=self.interpolate_mode,
            num_extra_tokens=self.num_extra_tokens,
        )

    def class_token(self, batch: int, positions: Tensor) -> Tensor:
        """-> (B, 1, D): the CLS token with its position."""
        return (self.cls_token + positions[:, :1]).expand(batch, -1, -1)

    def causal_states(self, tokens: Tensor, stride: int) -> Iterator[Tensor]:
        """(B, N, D) in generation order -> the output of every ``stride``-th block, in turn."""
        for number, layer in enumerate(self.layers, start=1):
            tokens = layer(tokens, causal=True)
            if number % stride == 0:
                yield tokens

    # --- bidirectional, as downstream tasks use it; E extra tokens: CLS and registers ----------

    def tokens(self, imgs: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B, E + L, D): CLS, registers, patches as the first block reads them."""
        patches, positions, _ = self.embed(imgs)
        extra = [] if self.cls_token is None else [self.class_token(len(imgs), positions)]
        if self.register_tokens is not None:
            registers = self.register_tokens + positions[:, len(extra) : self.num_extra_tokens]
            extra.append(registers.expand(len(imgs), -1, -1))
        return self.pre_norm(self.drop_after_pos(torch.cat([*extra, patches], dim=1)))

    def relation(self, imgs: Tensor) -> Relation | None:
        """-> how tokens of these images lie to each other, None without a relative bias."""
        return relate(self.grid(imgs), imgs.device) if self.rel_pos_bias else None

    def grid(self, imgs: Tensor) -> tuple[int, int]:
        """(B, 3, H, W) -> rows and columns of patches; a last one that sticks out is padded."""
        return tuple(-(-side // self.patch_size) for side in imgs.shape[2:])

    def block_outputs(self, imgs: Tensor, blocks: Sequence[int]) -> Iterator[tuple[int, Tensor]]:
        """(B, 3, H, W) -> (block, its output (B, E + L, D), unmasked, without the final norm)."""
        tokens, relation = self.tokens(imgs), self.relation(imgs)
        for number, layer in enumerate(self.layers[: max(blocks) + 1]):
            tokens = layer(tokens, relation=relation)
            if number in blocks:
                yield number, tokens

    def encode(self, imgs: Tensor, blocks: int | None = None) -> Tensor:
        """(B, 3, H, W) -> (B, E + L, D), CLS first, bidirectional.

        All blocks and the final norm; with ``blocks`` only so many blocks, without the norm.
        """
        tokens, relation = self.tokens(imgs), self.relation(imgs)
        for layer in self.layers[:blocks]:
            tokens = layer(tokens, relation=relation)
        return self.ln1(tokens) if blocks is None and self.final_norm else tokens

    def forward(self, imgs: Tensor) -> tuple[Tensor, ...]:
        """(B, 3, H, W) -> what ``out_type`` says of each block in ``out_indices``."""
        outputs = []
        for number, tokens in self.block_outputs(imgs, self.out_indices):
            if number == self.num_layers - 1 and self.final_norm:
                tokens = self.ln1(tokens)
            outputs.append(self._format_output(tokens, self.grid(imgs)))
        return tuple(outputs)

    def _freeze_stages(self) -> None:
        super()._freeze_stages()
        if getattr(self, "register_tokens", None) is not None:
            self.register_tokens.requires_grad = False

    def get_layer_depth(self, param_name: str, prefix: str = "") -> tuple[int, int]:
        """-> the layer that a parameter belongs to, and their number, for layer-wise decay."""
        if param_name.startswith((f"{prefix}register_tokens", f"{prefix}pre_norm.")):
            param_name = f"{prefix}cls_token"
        return super().get_layer_depth(param_name, prefix)


@contextmanager
def frozen_eval(*modules: nn.Module) -> Iterator[None]:
    """No gradient and eval mode inside, every module's own mode restored after."""
    modes = [(module, module.training) for root in modules for module in root.modules()]
    try:
        for module, _ in modes:
            module.training = False
        with torch.no_grad():
            yield
    finally:
        for module, mode in modes:
            module.training = mode
