"""SemAIM, ViT-L/16, 400 epochs. Published: 85.5 top-1 after finetuning. Not run here."""

_base_ = "semaim_vitl.py"

train_cfg = dict(max_epochs=400)
