"""SemAIM, ViT-L/16, 800 epochs, CLIP features. Published: 86.5 top-1 finetuned. Not run here.

The teacher is the ViT-B/16 of semaim_vitb_clip, since the authors' code takes no other width.
"""

_base_ = "semaim_vitb_clip.py"

model = dict(backbone=dict(arch="large"))
