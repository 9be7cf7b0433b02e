"""Fast linear probe on ImageNet-1K, ViT-B/16: every block, three poolings, one go. Not run here.

python tools/test.py configs/cls/probe_vitb.py CHECKPOINT
"""

_base_ = "../_base_/features_imagenet.py"

task = "linear probe"
model = dict(layers=list(range(12)), poolings=["cls", "patches", "both"])
test_evaluator = dict(_delete_=True, type="LinearProbe")
