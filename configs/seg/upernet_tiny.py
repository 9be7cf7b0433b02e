"""UperNet of the tiny backbone on the shipped scenes: minutes on a CPU."""

_base_ = "../_base_/upernet_sample.py"
