"""Ablation of semaim_vitb: random inside nested squares around the middle."""

_base_ = "../semaim_vitb.py"

model = dict(order=dict(_delete_=True, type="CenterOutOrder"))
