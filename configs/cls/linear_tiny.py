"""Linear probe of the tiny backbone on the shipped sample objects; half a minute on two cores."""

_base_ = "../_base_/linear_sample.py"
