"""The tiny SemAIM with the center-out order."""

_base_ = "semaim_tiny.py"

model = dict(order=dict(_delete_=True, type="CenterOutOrder"))
