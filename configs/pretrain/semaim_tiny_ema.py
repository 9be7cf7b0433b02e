"""The tiny SemAIM, predicting tokens of its own averaged copy."""

_base_ = "semaim_tiny.py"

model = dict(
    target_generator=dict(_delete_=True, type="EMATarget"),
    head=dict(loss="unit_l2"),
    similarity_from="target",
    ema=dict(start=0.99, end=0.99, epochs=1),  # a run of 500 updates
)
