"""SemAIM, ViT-B/16, from tar shards of ImageNet, for more than one machine. Not run here.

Write them by: python tools/prepare_data.py shards data/imagenet data/imagenet-shards --split train
"""

_base_ = "semaim_vitb.py"

train_dataloader = dict(
    sampler=dict(open_shards=16),
    dataset=dict(
        dataset=dict(
            _delete_=True,
            type="ImageShards",
            data_root="{{$SEMAIM_DATA:data}}/imagenet-shards",
            pipeline={{_base_.train_dataloader.dataset.dataset.pipeline}},
        ),
    ),
)
