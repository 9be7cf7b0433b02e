"""SemAIM, ViT-B/16, 800 epochs, features of DINO's ViT-B/16. No published figure. Not run here."""

_base_ = "semaim_vitb.py"

model = dict(
    target_generator=dict(
        _delete_=True,
        type="TimmTeacher",
        model="vit_base_patch16_224.dino",
        weights="checkpoints/dino_vitbase16_pretrain.pth",
    ),
    head=dict(loss="unit_l2"),
    similarity_from="target",
)
