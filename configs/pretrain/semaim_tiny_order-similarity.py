"""The tiny SemAIM with the similarity order."""

_base_ = "semaim_tiny.py"

model = dict(order=dict(type="SimilarityOrder"))
