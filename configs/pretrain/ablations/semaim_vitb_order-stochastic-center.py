"""Ablation of semaim_vitb: random inside nested squares around a random patch."""

_base_ = "../semaim_vitb.py"

model = dict(order=dict(_delete_=True, type="StochasticCenterOrder"))
