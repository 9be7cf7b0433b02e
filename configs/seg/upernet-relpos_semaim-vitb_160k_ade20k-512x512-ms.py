"""UperNet, relative position, ViT-B/16, tested at six scales; the single-scale leaf trains it."""

_base_ = ["upernet-relpos_semaim-vitb_160k_ade20k-512x512.py", "../_base_/segment_multi_scale.py"]

test_dataloader = dict(dataset=dict(pipeline={{_base_.tta_pipeline}}))
