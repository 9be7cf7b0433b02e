"""ViTDet's neck, a pyramid from the last feature map alone (arXiv 2203.16527, sec. 3).

Legend: B images, D channels of the map, C channels of every level, (h, w) the map.
"""

from collections.abc import Sequence

import torch.nn.functional as F
from mmcv.cnn import ConvModule, build_norm_layer
from mmengine.model import BaseModule
from mmengine.registry import MODELS
from torch import Tensor, nn

from semaim_mm.errors import InputError


@MODELS.register_module()
class SimpleFeaturePyramid(BaseModule):
    """Maps at 4, 2, 1 and 1/2 times the size of the backbone's last one, without an FPN.

    Enlarging is by transposed convolutions, which halve the channels at each step, shrinking by
    max-pooling; a 1x1 and a 3x3 convolution, each with its norm and no activation, follow.
    Convolutions start as in detectron2, which leaves them at torch's defaults: weights and biases
    uniform within 1 / sqrt(fan in); mmcv would start the 1x1 and 3x3 ones otherwise.

    Args:
        in_channels: D, a multiple of 4.
        out_channels: C.
        num_outs: levels in all, 4 or more; each one beyond the fourth is the level before it,
            every second row and column.
        norm_cfg: the norm after a convolution; LN over channels in the paper.
        init_cfg: mmengine's, laid over that start.

    Raises:
        InputError: channels that can't be halved twice, fewer than 4 levels.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int = 256,
        num_outs: int = 5,
        norm_cfg: dict | None = None,
        init_cfg: dict | Sequence[dict] | None = None,
    ):
        super().__init__(init_cfg)
        if in_channels % 4:
            raise InputError(
                f"SimpleFeaturePyramid: in_channels={in_channels} can't be halved twice on the way "
                "to the largest level; give a multiple of 4, the backbone's embed_dims."
            )
        if num_outs < 4:
            raise InputError(
                f"SimpleFeaturePyramid: num_outs={num_outs}, but it makes 4 levels (4, 2, 1 and "
                "1/2 of the map) or more; set num_outs to 4 or 5."
            )
        self.extra_levels = num_outs - 4
        norm_cfg = norm_cfg or dict(type="mmpretrain.LN2d", eps=1e-6)
        half, quarter = in_channels // 2, in_channels // 4
        larger = nn.Sequential(
            nn.ConvTranspose2d(in_channels, half, kernel_size=2, stride=2),
            build_norm_layer(norm_cfg, half)[1],
            nn.GELU(),
            nn.ConvTranspose2d(half, quarter, kernel_size=2, stride=2),
        )
        large = nn.ConvTranspose2d(in_channels, half, kernel_size=2, stride=2)
        # ceil: the last row and column of an odd map are kept
        small = nn.MaxPool2d(kernel_size=2, stride=2, ceil_mode=True)
        resized = [(larger, quarter), (large, half), (nn.Identity(), in_channels)]
        resized.append((small, in_channels))
        plain = dict(norm_cfg=norm_cfg, act_cfg=None)
        # torch's containers: mmengine's would call ConvModule.init_weights, mmcv's own start
        self.levels = nn.ModuleList(
            nn.Sequential(
                resize,
                ConvModule(width, out_channels, 1, **plain),
                ConvModule(out_channels, out_channels, 3, padding=1, **plain),
            )
            for resize, width in resized
        )
        self._reset_convolutions()

    def _reset_convolutions(self) -> None:
        for module in self.modules():
            if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)):
                module.reset_parameters()

    def init_weights(self) -> None:
        """Draw the convolutions anew, then do what ``init_cfg`` says."""
        self._reset_convolutions()
        super().init_weights()

    def forward(self, inputs: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Maps, of which the last (B, D, h, w) is read -> ``num_outs`` maps (B, C, .., ..).

        Sizes: (4h, 4w), (2h, 2w), (h, w), (h/2, w/2) and so on, halves rounded up.
        """
        outputs = [level(inputs[-1]) for level in self.levels]
        for _ in range(self.extra_levels):
            outputs.append(F.max_pool2d(outputs[-1], kernel_size=1, stride=2))
        return tuple(outputs)
