"""Detection and segmentation: what needs mmdet and mmseg, imported by their configs alone."""

from semaim_mm.dense import (  # noqa: F401  (registration)
    coco,
    coco_metric,
    iou_metric,
    label_maps,
    linear_head,
    roi_extractor,
)
