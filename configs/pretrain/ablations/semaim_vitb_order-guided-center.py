"""Ablation of semaim_vitb: random inside nested squares around the peak."""

_base_ = "../semaim_vitb.py"

model = dict(order=dict(type="GuidedCenterOrder"))
