"""semaim_tiny_supervised-features on whole images, whose features are computed once and kept.

python tools/cache_teacher.py configs/pretrain/semaim_tiny_cached-features.py
"""

_base_ = "semaim_tiny_supervised-features.py"

model = dict(
    target_generator=dict(
        _delete_=True,
        type="CachedTarget",
        teacher={{_base_.model.target_generator}},
        folder="work_dirs/teacher_cache/semaim_tiny",
    )
)
train_dataloader = dict(
    dataset=dict(dataset=dict(pipeline=[dict(type="LoadImage"), dict(type="PackInputs")]))
)
