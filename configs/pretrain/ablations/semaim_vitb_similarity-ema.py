"""Ablation of semaim_vitb: similarity from an averaged copy of the backbone."""

_base_ = "../semaim_vitb.py"

model = dict(similarity_from="ema", ema=dict(start=0.999, end=0.9999, epochs=100))
