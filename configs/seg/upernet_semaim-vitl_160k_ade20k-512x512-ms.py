"""UperNet, ViT-L/16, ADE20K, tested at six scales and flipped; the single-scale leaf trains it."""

_base_ = ["upernet_semaim-vitl_160k_ade20k-512x512.py", "../_base_/segment_multi_scale.py"]

test_dataloader = dict(dataset=dict(pipeline={{_base_.tta_pipeline}}))
