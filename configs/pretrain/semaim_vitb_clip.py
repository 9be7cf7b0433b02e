"""SemAIM, ViT-B/16, 800 epochs, CLIP features. Published: 85.3 top-1 finetuned. Not run here.

Teacher: OpenAI's ViT-B/16, whose file needs no conversion; inputs with ImageNet's mean and std, as
the authors feed them (leave out ``normalize`` for CLIP's own).
"""

_base_ = "semaim_vitb.py"

model = dict(
    target_generator=dict(
        _delete_=True,
        type="CLIPTeacher",
        model="vit_base_patch16_clip_quickgelu_224.openai",
        weights="checkpoints/ViT-B-16.pt",
        normalize="imagenet",
    ),
    head=dict(loss="unit_l2"),
    similarity_from="target",
)
