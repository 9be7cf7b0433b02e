"""The tiny SemAIM with the paper's 12 content and 12 query blocks and its blur, 48 wide.

What configs/suites/ablations.py varies on the shipped data, of which it sees the first half.
"""

_base_ = "semaim_tiny.py"

model = dict(
    backbone=dict(
        arch=dict(
            _delete_=True, embed_dims=48, num_layers=12, num_heads=4, feedforward_channels=192
        ),
    ),
    neck=dict(query_depth=12),
    target_generator=dict(blur_kernel=9),
)
train_dataloader = dict(dataset=dict(dataset=dict(indices=4000)))
val_cfg = dict(mean_dataloader=dict(dataset=dict(indices=4000)))  # the mean of the same half
