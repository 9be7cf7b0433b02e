"""Ablation of semaim_vitb: a linear prediction head."""

_base_ = "../semaim_vitb.py"

model = dict(head=dict(projection="linear"))
