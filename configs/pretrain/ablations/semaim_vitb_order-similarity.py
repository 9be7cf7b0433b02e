"""Ablation of semaim_vitb: the map itself is the order, most similar first."""

_base_ = "../semaim_vitb.py"

model = dict(order=dict(type="SimilarityOrder"))
