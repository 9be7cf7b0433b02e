"""Ablation of semaim_vitb: the last block's CLS attention as the map."""

_base_ = "../semaim_vitb.py"

model = dict(order=dict(similarity="self"))
