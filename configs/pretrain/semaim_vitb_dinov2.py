"""SemAIM, ViT-B/16, features of DINOv2's ViT-B/14 on a grid of 14 x 14. No published figure."""

_base_ = "semaim_vitb_dino.py"

model = dict(
    target_generator=dict(
        model="vit_base_patch14_reg4_dinov2.lvd142m",
        weights="checkpoints/dinov2_vitb14_reg4_pretrain.pth",
    )
)
