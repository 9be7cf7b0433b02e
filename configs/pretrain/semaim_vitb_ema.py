"""SemAIM, ViT-B/16, 800 epochs, tokens of its own averaged copy. No published figure.

The copy's pass gives the target and the similarity map. Not run here.
"""

_base_ = "semaim_vitb.py"

model = dict(
    target_generator=dict(_delete_=True, type="EMATarget"),
    head=dict(loss="unit_l2"),
    similarity_from="target",
    ema=dict(start=0.999, end=0.9999, epochs=100),
)
