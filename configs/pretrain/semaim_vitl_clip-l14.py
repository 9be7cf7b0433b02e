"""SemAIM, ViT-L/16, features of CLIP's ViT-L/14 on a grid of 14 x 14. No published figure."""

_base_ = "semaim_vitl_clip.py"

model = dict(
    target_generator=dict(
        model="vit_large_patch14_clip_quickgelu_224.openai",
        weights="checkpoints/ViT-L-14.pt",
        normalize="teacher",
    )
)
