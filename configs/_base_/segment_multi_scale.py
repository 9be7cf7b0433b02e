"""Six scales, each flipped too, for a leaf's test: the views of BEiT and MAE in mmseg 0.x.

No view is smaller than the crop: their Resize had min_size=512, so the scales of 0.5 and 0.75 are
seen at 512 as well. A leaf puts tta_pipeline into its test_dataloader.
"""

tta_model = dict(type="SegTTAModel")
tta_pipeline = [
    dict(type="LoadImage"),
    dict(
        type="TestTimeAug",
        transforms=[
            [
                # min_size lays no bound on the long side
                dict(type="ResizeShortestEdge", scale=max(512, int(512 * r)), max_size=100000)
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
]
