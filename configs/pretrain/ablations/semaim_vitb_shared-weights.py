"""Ablation of semaim_vitb: the query stream uses the content stream's weights."""

_base_ = "../semaim_vitb.py"

model = dict(neck=dict(share_weights=True))
