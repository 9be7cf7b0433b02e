"""SemAIM, ViT-H/16, 800 epochs. No published figure; 16 query blocks, since 12 do not divide 32."""

_base_ = "semaim_vitb.py"

model = dict(backbone=dict(arch="huge"), neck=dict(query_depth=16))
