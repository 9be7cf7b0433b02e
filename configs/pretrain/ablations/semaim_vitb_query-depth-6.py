"""Ablation of semaim_vitb: 6 query block(s) instead of 12."""

_base_ = "../semaim_vitb.py"

model = dict(neck=dict(query_depth=6))
