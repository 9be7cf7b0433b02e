"""The backbone: image -> patches -> content stream. The same class downstream.

Legend: B images, L patches, D embed_dims. mmpretrain's VisionTransformer underneath, so its
heads, layer-wise decay, position-embedding resize and ``out_type``s all work.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from mmengine.model import ModuleList
from mmpretrain.models import VisionTransformer
from mmpretrain.models.utils import resize_pos_embed
from mmpretrain.registry import MODELS
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from semaim_mm.arch import settle_arch, settle_size
from semaim_mm.errors import InputError
from semaim_mm.interop.init_cfg import load_init_cfg
from semaim_mm.layers import ContentLayer
from semaim_mm.pos_embed import sincos_pos_embed
from semaim_mm.rel_pos import position_bias, table_rows
from semaim_mm.windows import Windows


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
        windows: how blocks attend on large maps, the arguments of ``Windows`` (windows.py): window
            size, global blocks, relative position. Patches only (``with_cls_token=False``).
        with_cp: recompute every block in the backward pass, to save memory.
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
        windows: dict | None = None,
        with_cp: bool = False,
        **kwargs,
    ):
        super().__init__(
            arch=settle_arch(arch),
            img_size=settle_size(img_size, patch_size),
            patch_size=patch_size,
            drop_path_rate=drop_path_rate,
            out_indices=out_indices if isinstance(out_indices, int) else list(out_indices),
            **kwargs,
        )
        self.patch_size = patch_size
        self.frozen_pos_embed = frozen_pos_embed
        self.rel_pos_bias = rel_pos_bias
        self.with_cp = with_cp
        self.windows = Windows.read(windows).settle(self.num_layers, self.patch_resolution)
        self._check_relative_position(num_registers)
        self._add_registers(num_registers)
        self.layers = self._build_layers(drop_path_rate, layer_cfgs or {}, kwargs)
        self._add_shared_tables()
        self._reset_pos_embed()
        if self.frozen_stages > 0:
            self._freeze_stages()

    def _check_relative_position(self, num_registers: int) -> None:
        patches_only = self.cls_token is None and not num_registers
        if self.windows.active and not patches_only:
            raise InputError(
                "SemAIMViT: windows attend to patches only; set with_cls_token=False and leave "
                "num_registers at 0 with windows."
            )
        if self.rel_pos_bias and num_registers:
            raise InputError(
                "SemAIMViT: rel_pos_bias=True has rows for CLS and patches alone; leave "
                "num_registers at 0 with it."
            )

    def _add_shared_tables(self) -> None:
        """``rel_pos_shared``: one table of all windowed blocks, one of all global ones."""
        self.rel_pos_shared = None
        if self.windows.rel_pos == "shared":
            sides = {"whole": self.windows.map_size}
            if any(map(self.windows.side, range(self.num_layers))):
                sides["window"] = (self.windows.size, self.windows.size)
            heads = self.arch_settings["num_heads"]
            self.rel_pos_shared = nn.ParameterDict(
                {kind: torch.zeros(table_rows(s, cls=False), heads) for kind, s in sides.items()}
            )

    def _map_cfg(self, block: int) -> dict:
        side, whole = self.windows.side(block), self.windows.map_size
        area = (side, side) if side else whole
        return dict(
            window_size=side,
            cls=self.cls_token is not None,
            rel_pos_window=tuple(area) if self.rel_pos_bias else None,
            rel_pos_vectors=area if self.windows.rel_pos == "decomposed" else None,
        )

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
        )
        # Python floats: a numpy rate in drop path breaks torch.compile's graph
        rates = np.linspace(0, drop_path_rate, self.num_layers).tolist()
        return ModuleList(
            ContentLayer(
                **{**shared, "drop_path_rate": rate, "map_cfg": self._map_cfg(block), **cfg}
            )
            for block, (rate, cfg) in enumerate(zip(rates, layer_cfgs, strict=True))
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
        for table in (self.rel_pos_shared or {}).values():
            nn.init.zeros_(table)
        load_init_cfg(self)
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
            tokens = self._run(layer, tokens, causal=True)
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

    def without_registers(self, tokens: Tensor) -> Tensor:
        """(B, E + L, D) -> (B, 1 + L, D), CLS first; the same tensor where there are none."""
        if self.register_tokens is None:
            return tokens
        return torch.cat([tokens[:, :1], tokens[:, self.num_extra_tokens :]], dim=1)

    def grid(self, imgs: Tensor) -> tuple[int, int]:
        """(B, 3, H, W) -> rows and columns of patches; a last one that sticks out is padded."""
        return tuple(-(-side // self.patch_size) for side in imgs.shape[2:])

    def shared_biases(self, grid: tuple[int, int]) -> dict[str, Tensor]:
        """-> (heads, N, N) biases by kind, 'whole' and 'window', where blocks share tables."""
        if self.rel_pos_shared is None:
            return {}
        side = self.windows.size
        made = {"whole": self.windows.map_size, "window": (side, side)}
        area = {"whole": grid, "window": (side, side)}
        return {
            kind: position_bias(table, made[kind], area[kind], cls=False)
            for kind, table in self.rel_pos_shared.items()
        }

    def run_blocks(self, imgs: Tensor, tokens: Tensor, number: int) -> Iterator[Tensor]:
        """The tokens of images -> the outputs (B, E + L, D) of the first blocks, unmasked."""
        grid = self.grid(imgs)
        biases = self.shared_biases(grid)
        for layer in list(self.layers)[:number]:  # a slice of the list would break a graph
            bias = biases.get("window" if layer.attn.window_size else "whole")
            tokens = self._run(layer, tokens, grid=grid, bias=bias)
            yield tokens

    def _run(self, layer: ContentLayer, tokens: Tensor, **how: Any) -> Tensor:
        if self.with_cp and torch.is_grad_enabled():
            return checkpoint(layer, tokens, use_reentrant=False, **how)
        return layer(tokens, **how)

    def block_outputs(self, imgs: Tensor, blocks: Sequence[int]) -> Iterator[tuple[int, Tensor]]:
        """(B, 3, H, W) -> (block, its output (B, E + L, D), unmasked, without the final norm)."""
        states = self.run_blocks(imgs, self.tokens(imgs), max(blocks) + 1)
        for number, tokens in enumerate(states):
            if number in blocks:
                yield number, tokens

    def encode(self, imgs: Tensor, blocks: int | None = None) -> Tensor:
        """(B, 3, H, W) -> (B, E + L, D), CLS first, bidirectional.

        All blocks and the final norm; with ``blocks`` only so many blocks, without the norm.
        """
        tokens = self.tokens(imgs)
        for state in self.run_blocks(imgs, tokens, self.num_layers if blocks is None else blocks):
            tokens = state
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
        tables = getattr(self, "rel_pos_shared", None)
        if tables is not None and self.frozen_stages >= self.num_layers:
            tables.requires_grad_(False)

    def get_layer_depth(self, param_name: str, prefix: str = "") -> tuple[int, int]:
        """-> the layer that a parameter belongs to, and their number, for layer-wise decay."""
        stem = ("register_tokens", "pre_norm.", "rel_pos_shared.")
        if param_name.startswith(tuple(prefix + name for name in stem)):
            param_name = f"{prefix}cls_token"
        return super().get_layer_depth(param_name, prefix)
