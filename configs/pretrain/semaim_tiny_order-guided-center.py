"""The tiny SemAIM with the guided-center order."""

_base_ = "semaim_tiny.py"

model = dict(order=dict(type="GuidedCenterOrder"))
