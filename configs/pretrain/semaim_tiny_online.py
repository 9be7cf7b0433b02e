"""The tiny SemAIM, predicting its own tokens (the authors' ``inference``)."""

_base_ = "semaim_tiny.py"

model = dict(
    target_generator=dict(_delete_=True, type="OnlineTarget"),
    head=dict(loss="unit_l2"),
    similarity_from="target",
)
