"""SimMIM on a plain ViT-B/16, 800 epochs: this suite's own implementation and settings.

Not the published recipe (which has relative position bias and LayerScale). Not run here.
"""

_base_ = "../../_base_/pretrain.py"

base_lr = 1e-4
model = dict(
    _delete_=True,
    type="PlainSimMIM",
    backbone=dict(type="SemAIMViT", arch="base", drop_path_rate=0.1, frozen_pos_embed=True),
    mask_ratio=0.6,
    mask_block=2,
    data_preprocessor={{_base_.model.data_preprocessor}},
)
