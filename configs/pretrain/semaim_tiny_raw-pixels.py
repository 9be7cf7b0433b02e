"""The tiny SemAIM, predicting raw pixels row by row: it can complete an image by itself.

python tools/analyze.py configs/pretrain/semaim_tiny_raw-pixels.py CHECKPOINT --only generation
"""

_base_ = "semaim_tiny_order-raster.py"

model = dict(target_generator=dict(normalize=False))
