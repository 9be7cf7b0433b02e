"""Fast linear probe on ImageNet-1K, ViT-L/16: every block, four poolings, one go. Not run here.

Attentive pooling on a twentieth of the training images. 165 GiB of disk (pooled features 122,
tokens 43); memory beside the backbone at most 6.1 GiB, on the device.
"""

_base_ = "probe_vitb.py"

model = dict(backbone=dict(arch="large"), layers=list(range(24)), attentive_share=0.05)
