"""UperNet, ViT-B/16, ADE20K, tested at six scales and flipped; the single-scale leaf trains it."""

_base_ = "upernet_semaim-vitb_160k_ade20k-512x512.py"

tta_model = dict(type="SegTTAModel")
test_dataloader = dict(
    dataset=dict(
        pipeline=[
            dict(type="LoadImage"),
            dict(
                type="TestTimeAug",
                transforms=[
                    [
                        dict(type="Resize", scale=(int(2048 * r), int(512 * r)), keep_ratio=True)
                        for r in (0.5, 0.75, 1.0, 1.25, 1.5, 1.75)
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
