"""Linear probe on raw pixels of the shipped sample objects."""

_base_ = "probe-last_tiny.py"

checkpoint_key = None
model = dict(backbone=dict(_delete_=True, type="RawPixels"))
