"""Ablation of semaim_vitb: up to three peaks, distance to the nearest."""

_base_ = "../semaim_vitb.py"

model = dict(order=dict(type="MultiCenterOrder", num_centers=3))
