"""Ablation of semaim_vitb: similarity with the mean patch token."""

_base_ = "../semaim_vitb.py"

model = dict(order=dict(similarity="gap"))
