"""The tiny SemAIM, predicting tokens of its averaged copy beside pixels, half the weight each."""

_base_ = "semaim_tiny_ema.py"

model = dict(
    target_generator=dict(
        _delete_=True,
        type="MultiTarget",
        generators=[dict(type="EMATarget"), dict(type="PixelTarget", blur_kernel=None)],
    ),
    head=dict(
        _delete_=True,
        type="MultiHead",
        heads=[dict(loss="unit_l2"), dict(loss="l2")],
        weights=[0.5, 0.5],
    ),
)
