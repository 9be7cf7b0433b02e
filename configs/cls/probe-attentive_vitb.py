"""Fast probe with attentive pooling on 10 % of ImageNet-1K's training images, ViT-B/16. Not run.

Beside probe_vitb.py, which trains attentive pooling in one go with the others: here the mean of
patches sees the very images that attentive pooling sees, so that the two compare. Last block;
51 GiB of disk (tokens 36 + 14); memory beside the backbone at most 0.8 GiB, on the device.
"""

_base_ = "probe_vitb.py"

model = dict(layers=[-1], poolings=["patches", "attentive"], attentive_share=1.0)
test_cfg = dict(bank_dataloader=dict(dataset=dict(subset=dict(fraction=0.1, seed=0))))
