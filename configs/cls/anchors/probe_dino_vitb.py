"""Anchor: DINO ViT-B/16, fast probe on CLS and mean of the last block, 78.2 (DINO README).

DINO's own probe sees random crops; this one sees one view of an image, so the tolerance is wide.
"""

_base_ = "../probe_vitb.py"

model = dict(
    layers=[-1],
    poolings=["both"],
    backbone=dict(init_cfg=dict(checkpoint="checkpoints/dino_vitbase16_pretrain.pth")),
)
