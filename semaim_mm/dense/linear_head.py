"""The linear head that probes a frozen segmenter: BatchNorm and one 1 x 1 convolution."""

from collections.abc import Sequence
from typing import Any

from mmcv.cnn import build_norm_layer
from mmengine.registry import MODELS
from mmseg.models.decode_heads.decode_head import BaseDecodeHead
from torch import Tensor


@MODELS.register_module()
class LinearSegHead(BaseDecodeHead):
    """Feature map (B, D, h, w) -> class scores (B, C, h, w), linear in normalised features.

    Args:
        in_channels: width D of the backbone.
        norm_cfg: the normalisation before the convolution, whose scale and shift are learned.
        **kwargs: those of mmseg's BaseDecodeHead.
    """

    def __init__(self, in_channels: int, norm_cfg: dict, **kwargs: Any):
        # ``channels`` is the input of BaseDecodeHead's own classifying convolution
        kwargs = dict(in_index=-1, dropout_ratio=0.0) | kwargs
        super().__init__(in_channels=in_channels, channels=in_channels, norm_cfg=norm_cfg, **kwargs)
        self.norm = build_norm_layer(norm_cfg, in_channels)[1]

    def forward(self, inputs: Sequence[Tensor]) -> Tensor:
        """Feature maps of the backbone -> class scores of the last one."""
        return self.cls_seg(self.norm(self._transform_inputs(inputs)))
