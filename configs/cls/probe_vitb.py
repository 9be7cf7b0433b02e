"""Fast linear probe on ImageNet-1K, ViT-B/16: every block, four poolings, one go. Not run here.

python tools/test.py configs/cls/probe_vitb.py CHECKPOINT

CLS, mean and both of every block on all training images; attentive pooling of the last block on a
tenth of them (attentive_share), since 1.3 million images' patch tokens are 359 GiB. It is held
against the others by its own held-out images; probe-attentive_vitb.py gives all the same tenth.

96 GiB of disk (pooled features 46, tokens 50; test_cfg.cache_dir says where); memory beside the
backbone at most 2.7 GiB, on the device. 90 epochs are fast where the page cache holds the 46.
"""

_base_ = "../_base_/features_imagenet.py"

task = "linear probe"
model = dict(
    layers=list(range(12)),
    poolings=["cls", "patches", "both", "attentive"],
    attentive_layers=[-1],
    attentive_share=0.1,
    max_token_gib=40,
)
test_evaluator = dict(_delete_=True, type="LinearProbe")
