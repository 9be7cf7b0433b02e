"""Fast probe with attentive pooling of the tiny backbone's last block; a minute on two cores."""

_base_ = "probe_tiny.py"

model = dict(layers=[-1], poolings=["patches", "attentive"])
