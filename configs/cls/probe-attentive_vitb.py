"""Fast probe with attentive pooling on 10 % of ImageNet-1K's training images, ViT-B/16. Not run.

Keeps the last block's tokens of 128,000 images and of the validation set: 36 + 14 GiB of memory.
"""

_base_ = "probe_vitb.py"

model = dict(layers=[-1], poolings=["patches", "attentive"], max_token_gib=40)
test_cfg = dict(bank_dataloader=dict(dataset=dict(subset=dict(fraction=0.1, seed=0))))
