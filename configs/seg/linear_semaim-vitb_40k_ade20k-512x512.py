"""Linear segmentation, frozen ViT-B/16, ADE20K, 40k updates. Not run here."""

_base_ = "../_base_/segment_linear.py"
