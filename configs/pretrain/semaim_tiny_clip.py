"""The tiny SemAIM, predicting features of CLIP's ViT-B/16: needs OpenAI's file ViT-B-16.pt."""

_base_ = "semaim_tiny.py"

model = dict(
    target_generator=dict(_delete_=True, type="CLIPTeacher", weights="checkpoints/ViT-B-16.pt"),
    head=dict(loss="unit_l2"),
    similarity_from="target",
)
