"""Fast linear probe of the tiny backbone's last block, CLS beside the mean of patches; seconds."""

_base_ = "probe_tiny.py"

model = dict(layers=[-1], poolings=["both"])
