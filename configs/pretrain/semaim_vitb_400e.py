"""SemAIM, ViT-B/16, 400 epochs. Published: 83.8 top-1 after finetuning. Not run here."""

_base_ = "semaim_vitb.py"

train_cfg = dict(max_epochs=400)
