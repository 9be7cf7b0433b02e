"""The tiny SemAIM with the multi-center order."""

_base_ = "semaim_tiny.py"

model = dict(order=dict(type="MultiCenterOrder", num_centers=3))
