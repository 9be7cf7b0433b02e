"""Ablation of semaim_vitb: L1 instead of L2."""

_base_ = "../semaim_vitb.py"

model = dict(head=dict(loss="l1"))
