"""Ablation of semaim_vitb: sharp pixels as the target."""

_base_ = "../semaim_vitb.py"

model = dict(target_generator=dict(blur_kernel=None))
