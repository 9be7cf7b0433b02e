"""The RoI extractor of detectors whose pyramid is of half precision."""

from mmdet.models.roi_heads import SingleRoIExtractor
from mmengine.registry import MODELS
from torch import Tensor


@MODELS.register_module()
class Fp32RoIExtractor(SingleRoIExtractor):
    """mmdet's SingleRoIExtractor with boxes, levels and RoIAlign in fp32; features come back as
    they were.

    mmdet casts boxes to the features' type first. In fp16 a box of more than 65,504 square pixels
    then has no finite area and is read from the coarsest level, and coordinates above 512 px are
    rounded to half pixels. mmcv's RoIAlign reads boxes as the type of its input, so the features
    go to fp32 too, as torchvision's do under autocast.
    """

    def forward(
        self, feats: tuple[Tensor, ...], rois: Tensor, roi_scale_factor: float | None = None
    ) -> Tensor:
        """Maps (B, C, .., ..) and boxes (N, 5) -> (N, C, 7, 7) or as large as roi_layer says."""
        # gradients of overlapping boxes, too, add up in fp32
        found = super().forward(tuple(f.float() for f in feats), rois.float(), roi_scale_factor)
        return found.type_as(feats[0])
