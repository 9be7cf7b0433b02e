"""UperNet, ViT-B/16 with fresh relative-position bias and LayerScale, as MAE's own figure has it.

Published: MAE 48.1 mIoU (arXiv 2111.06377), 48.13 (mmseg's reproduction). Not run here.
"""

_base_ = "upernet_semaim-vitb_160k_ade20k-512x512.py"

model = dict(
    backbone=dict(
        rel_pos_bias=True,
        layer_scale_init_value=1.0,
        init_cfg=dict(
            new_keys=["*.relative_position_bias_table", "*.gamma1.weight", "*.gamma2.weight"]
        ),
    ),
)
# mmseg's reproduction decays the tables, which our constructor leaves alone unless it is told
optim_wrapper = dict(
    paramwise_cfg=dict(custom_keys={"relative_position_bias_table": dict(decay_mult=1.0)})
)
