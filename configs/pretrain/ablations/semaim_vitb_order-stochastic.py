"""Ablation of semaim_vitb: a random permutation (SAIM)."""

_base_ = "../semaim_vitb.py"

model = dict(order=dict(_delete_=True, type="StochasticOrder"))
