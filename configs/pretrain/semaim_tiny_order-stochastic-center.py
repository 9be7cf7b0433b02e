"""The tiny SemAIM with the stochastic-center order."""

_base_ = "semaim_tiny.py"

model = dict(order=dict(_delete_=True, type="StochasticCenterOrder"))
