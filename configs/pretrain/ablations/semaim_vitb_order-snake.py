"""Ablation of semaim_vitb: row by row, every second row reversed."""

_base_ = "../semaim_vitb.py"

model = dict(order=dict(_delete_=True, type="SnakeOrder"))
