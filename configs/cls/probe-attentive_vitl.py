"""Fast probe with attentive pooling on 5 % of ImageNet-1K's training images, ViT-L/16. Not run.

44 GiB of disk; memory beside the backbone at most 1 GiB, on the device.
"""

_base_ = "probe-attentive_vitb.py"

model = dict(backbone=dict(arch="large"), layers=[-1])
test_cfg = dict(bank_dataloader=dict(dataset=dict(subset=dict(fraction=0.05))))
