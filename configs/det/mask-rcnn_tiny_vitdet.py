"""Mask R-CNN of the tiny backbone, protocol "vitdet", on the shipped scenes: minutes on a CPU."""

_base_ = "../_base_/vitdet_sample.py"
