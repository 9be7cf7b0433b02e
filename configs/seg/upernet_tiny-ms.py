"""UperNet of the tiny backbone, tested at three scales, none below its crop, and flipped."""

_base_ = "upernet_tiny.py"

tta_model = dict(type="SegTTAModel")
test_dataloader = dict(
    dataset=dict(
        pipeline=[
            dict(type="LoadImage"),
            dict(
                type="TestTimeAug",
                transforms=[
                    [
                        dict(type="Resize", scale=(side, side), keep_ratio=True)
                        for side in (96, 120, 144)
                    ],
                    [
                        dict(type="RandomFlip", prob=0.0, direction="horizontal"),
                        dict(type="RandomFlip", prob=1.0, direction="horizontal"),
                    ],
                    [dict(type="LoadAnnotations", reduce_zero_label=True)],
                    [dict(type="PackSegInputs")],
                ],
            ),
        ],
    ),
)
