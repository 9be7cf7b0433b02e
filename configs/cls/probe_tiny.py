"""Fast linear probe of the tiny backbone on the shipped sample objects; seconds.

python tools/test.py configs/cls/probe_tiny.py CHECKPOINT
"""

_base_ = "../_base_/features_sample.py"

task = "linear probe"
model = dict(layers=list(range(4)), poolings=["cls", "patches", "both"])
test_evaluator = dict(_delete_=True, type="LinearProbe")
