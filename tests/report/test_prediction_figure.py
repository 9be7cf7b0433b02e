"""The prediction figure: boxes, masks and label maps beside the ground truth where there is one."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmengine.structures import InstanceData, PixelData
from mmengine.visualization import Visualizer
from PIL import Image

from semaim_mm.errors import InputError
from semaim_mm.report.prediction_data import Picture, _without_annotations, load_predictor
from semaim_mm.report.prediction_figure import draw, panels, write_prediction_figures

HEAD = """
custom_imports = dict(
    imports=["semaim_mm", "mmdet.datasets", "mmdet.models", "mmseg.datasets", "mmseg.models"],
    allow_failed_imports=False,
)
runner_type = "TransferRunner"
default_scope = {scope!r}
randomness = dict(seed=0)
test_cfg = dict()
test_dataloader = dict(
    batch_size=1, num_workers=0, sampler=dict(type="DefaultSampler", shuffle=False), dataset={data}
)
test_evaluator = {metric}
"""
DETECTOR = """
_base_ = "mmdet::_base_/models/mask-rcnn_r50_fpn.py"
model = dict(
    backbone=dict(depth=18, base_channels=4, frozen_stages=-1, init_cfg=None),
    neck=dict(in_channels=[4, 8, 16, 32], out_channels=8),
    rpn_head=dict(in_channels=8, feat_channels=8),
    roi_head=dict(
        bbox_roi_extractor=dict(out_channels=8),
        bbox_head=dict(in_channels=8, fc_out_channels=16, num_classes=2),
        mask_roi_extractor=dict(out_channels=8),
        mask_head=dict(in_channels=8, conv_out_channels=8, num_convs=1, num_classes=2),
    ),
    test_cfg=dict(rcnn=dict(max_per_img=5)),
)
"""
SEGMENTER = """
model = dict(
    type="EncoderDecoder",
    data_preprocessor=dict(
        type="SegDataPreProcessor", mean=[120.0] * 3, std=[58.0] * 3, bgr_to_rgb=True
    ),
    backbone=dict(
        type="mmpretrain.VisionTransformer",
        arch=dict(embed_dims=16, num_layers=1, num_heads=2, feedforward_channels=16),
        img_size=64, patch_size=8, out_type="featmap",
    ),
    decode_head=dict(
        type="FCNHead", in_channels=16, in_index=0, channels=8, num_convs=1, num_classes=3,
        norm_cfg=dict(type="BN"),
    ),
    train_cfg=dict(), test_cfg=dict(mode="whole"),
)
"""
LOAD = [dict(type="LoadImageFromFile"), dict(type="Resize", scale=(64, 64), keep_ratio=True)]


@pytest.fixture
def files(tmp_path, make_images):
    """Two pictures of 40 px, a third that no test set has, and ground truth of both kinds."""
    images = make_images(tmp_path / "val", 2, size=40)
    polygon = [5, 5, 25, 5, 25, 15, 5, 15]
    one = dict(image_id=1, area=200, bbox=[5, 5, 20, 10], iscrowd=0, segmentation=[polygon])
    annotations = [dict(one, id=1, category_id=4), dict(one, id=2, category_id=9, iscrowd=1)]
    annotations[1]["segmentation"] = dict(size=[40, 40], counts=[800, 400, 400])
    truth = dict(
        images=[
            dict(id=n + 1, file_name=p.name, width=40, height=40) for n, p in enumerate(images)
        ],
        annotations=annotations,
        categories=[dict(id=4, name="bird"), dict(id=9, name="boat")],
    )
    (tmp_path / "truth.json").write_text(json.dumps(truth))
    (tmp_path / "maps").mkdir()
    labels = np.ones((40, 40), dtype=np.uint8)
    labels[:, :10], labels[20:, 30:] = 0, 3
    for path in images:
        Image.fromarray(labels).save(tmp_path / "maps" / path.name)
    other = make_images(tmp_path / "other", 1, size=40)[0]
    return SimpleNamespace(root=tmp_path, images=images, other=other)


def detector(root, steps=(), **changes):
    data = dict(
        type="CocoDataset",
        data_root=str(root),
        ann_file="truth.json",
        data_prefix=dict(img="val/"),
        metainfo=dict(classes=("bird", "boat"), palette=[(255, 0, 0), (0, 0, 255)]),
        test_mode=True,
        pipeline=[
            *LOAD,
            *steps,
            dict(type="LoadAnnotations", with_bbox=True, with_mask=True),
            dict(
                type="PackDetInputs", meta_keys=("img_id", "ori_shape", "img_shape", "scale_factor")
            ),
        ],
    )
    return write(root / "det.py", DETECTOR, "mmdet", data | changes)


def segmenter(root, **changes):
    data = dict(
        type="BaseSegDataset",
        data_root=str(root),
        img_suffix=".png",
        data_prefix=dict(img_path="val", seg_map_path="maps"),
        metainfo=dict(
            classes=("ground", "sky", "sea"), palette=[(250, 0, 0), (0, 250, 0), (0, 0, 250)]
        ),
        reduce_zero_label=True,
        test_mode=True,
        pipeline=[*LOAD, dict(type="LoadAnnotations"), dict(type="PackSegInputs")],
    )
    return write(root / "seg.py", SEGMENTER, "mmseg", data | changes)


def write(path, model, scope, data):
    metric = dict(type="CocoMetric") if scope == "mmdet" else dict(type="IoUMetric")
    path.write_text(model + HEAD.format(scope=scope, data=data, metric=metric))
    return str(path)


def texts(figure):
    return [text.get_text() for text in figure.texts]


def test_a_detector_is_drawn_beside_its_ground_truth(files):
    predictor = load_predictor(detector(files.root), "random")
    picture = predictor(files.images[0])
    np.testing.assert_array_equal(picture.image, np.asarray(Image.open(files.images[0])))
    # the test pipeline saw 64 pixels; what comes out is in the picture's own
    assert len(picture.prediction) == 5 and picture.prediction.masks.shape == (5, 40, 40)
    assert picture.truth.bboxes.tolist() == [[5, 5, 25, 15]] * 2
    assert picture.truth.label_names == ["bird", "boat (crowd)"]
    truth, prediction = panels(picture, score_thr=0.0)
    assert truth.title == "ground truth: 2 objects"
    assert prediction.title == "prediction: 5 of 5 above a score of 0"
    assert truth.image.shape == prediction.image.shape == (480, 480, 3)
    empty = panels(picture, score_thr=0.99)[1]
    assert empty.title == "prediction: 0 of 5 above a score of 0.99"
    changed = np.abs(truth.image.astype(int) - empty.image).max(-1) > 20
    # the polygon in red, twelve times as large as in the file, and nothing beside it
    red = truth.image[72:168, 72:228].astype(int) - empty.image[72:168, 72:228]
    assert changed[72:168, 72:228].mean() > 0.9 and red[..., 0].mean() > red[..., 2].mean() + 50
    # the crowd: columns 20 to 29, from top to bottom, in blue
    blue = truth.image[240:, 250:350].astype(int) - empty.image[240:, 250:350]
    assert changed[240:, 250:350].mean() > 0.9 and blue[..., 2].mean() > blue[..., 0].mean() + 50
    assert not changed[240:, :230].any() and not changed[:, 380:].any()
    # boxes are enlarged too: nothing is drawn where the file's own numbers would put them
    assert not changed[:50, :50].any() and changed[60, 70:290].all()
    assert (prediction.image != empty.image).any()
    # mmdet draws the colours of masks at random: here they stay, and others' random numbers too
    np.random.seed(7)
    before = np.random.get_state()[1].copy()
    np.testing.assert_array_equal(panels(picture)[0].image, truth.image)
    np.testing.assert_array_equal(np.random.get_state()[1], before)


def test_labels_lie_above_masks_and_tell_scores_in_the_titles_unit(files, monkeypatch):
    picture = load_predictor(detector(files.root), "random")(files.images[0])
    drawn = []
    for name in ("draw_texts", "draw_binary_masks"):

        def record(self, first, *args, name=name, **kwargs):
            drawn.append(first if name == "draw_texts" else name)

        monkeypatch.setattr(Visualizer, name, record)
    panels(picture, score_thr=0.0)
    found = picture.prediction
    pairs = zip(found.labels.tolist(), found.scores.tolist(), strict=True)
    scored = [f"{picture.classes[label]} {score:.3f}" for label, score in pairs]
    masks = "draw_binary_masks"
    assert drawn == [masks, *scored, masks, "bird", "boat (crowd)"]


def test_a_segmenter_is_drawn_beside_its_ground_truth(files):
    predictor = load_predictor(segmenter(files.root), "random")
    picture = predictor(files.images[1])
    # zero is reduced to 255, so 1 is the first class and 3 the last
    assert np.unique(picture.truth.data).tolist() == [0, 2, 255]
    assert picture.prediction.data.shape == (1, 40, 40)
    truth, prediction = panels(picture)
    assert truth.labels == [0, 2] and truth.has_unlabelled and not prediction.has_unlabelled
    pixels = truth.image.astype(int)
    assert truth.image.shape == (480, 480, 3)
    # class 'ground' is red, 'sea' blue, what is not labelled dark and grey
    assert (pixels[:230, 130:, 0] - pixels[:230, 130:, 2]).min() > 140
    assert (pixels[250:, 370:, 2] - pixels[250:, 370:, 0]).min() > 140
    assert np.ptp(pixels[:, :110], axis=-1).max() <= 2 and pixels[:, :110].max() < 110
    legend = [text.get_text() for text in draw(picture).legends[0].get_texts()]
    shown = sorted({*truth.labels, *prediction.labels})
    assert legend == [predictor.classes[label] for label in shown] + ["not labelled"]


@pytest.mark.parametrize("config", [detector, segmenter])
def test_a_picture_outside_the_test_set_has_one_panel(files, config):
    predictor = load_predictor(config(files.root), "random")
    picture = predictor(files.other)
    assert picture.truth is None
    (panel,) = panels(picture)
    assert panel.title.startswith("prediction")
    assert len(draw(picture).axes) == 1 and len(draw(predictor(files.images[0])).axes) == 2


@pytest.mark.parametrize("config", [detector, segmenter])
def test_without_the_test_sets_files_pictures_are_drawn_alone(files, config):
    path = config(files.root, data_root=str(files.root / "gone"))
    predictor = load_predictor(path, "random")
    picture = predictor(files.images[0])
    assert picture.truth is None and picture.classes[0] in ("bird", "ground")


def test_the_config_s_weights_are_loaded_strictly(files):
    path = segmenter(files.root)
    state = load_predictor(path, "random").model.state_dict()
    state["decode_head.conv_seg.weight"].zero_()
    state["decode_head.conv_seg.bias"].copy_(torch.tensor([0.0, 0.0, 1.0]))
    checkpoint = files.root / "run" / "iter_9.pth"
    checkpoint.parent.mkdir()
    torch.save(dict(state_dict=state), checkpoint)
    predictor = load_predictor(path, str(checkpoint))
    picture = predictor(files.images[0])
    assert (picture.prediction.data == 2).all()
    assert picture.source == "seg  ·  run/iter_9.pth"
    (written,) = write_prediction_figures(path, str(checkpoint), [files.images[0]])
    assert written == checkpoint.parent / "predictions" / "000.png"
    assert [p.name for p in checkpoint.parent.iterdir()] == ["iter_9.pth", "predictions"]
    del state["decode_head.conv_seg.bias"]
    torch.save(dict(state_dict=state), checkpoint)
    with pytest.raises(InputError, match="lacks 1 of 32 weights"):
        load_predictor(path, str(checkpoint))


def test_pictures_of_one_name_do_not_overwrite_each_other(files):
    path, out = detector(files.root), files.root / "out"
    written = write_prediction_figures(path, "random", [files.images[0], files.other], out, 0.0)
    assert [p.name for p in written] == ["000.png", "000-2.png"]
    sizes = [Image.open(p).size for p in written]
    assert sizes[0][0] > sizes[1][0] > 480 and sizes[0][1] == sizes[1][1] > 480


def test_what_can_not_be_drawn_is_a_sentence(files, tmp_path):
    path = detector(files.root)
    with pytest.raises(InputError, match=r"1 of 2 images don't exist, the first: .*gone\.png"):
        write_prediction_figures(path, "random", [files.other, tmp_path / "gone.png"])
    broken = files.other.with_name("broken.png")
    broken.write_text("no picture")
    with pytest.raises(InputError, match=r"broken\.png"):
        write_prediction_figures(path, "random", [broken], tmp_path / "out")
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="--out"):
        write_prediction_figures(path, "random", [files.other], tmp_path / "file")


def test_a_label_map_of_another_size_or_none_is_named(files):
    predictor = load_predictor(segmenter(files.root), "random")
    label_map = files.root / "maps" / "000.png"
    Image.new("L", (30, 40), 1).save(label_map)
    with pytest.raises(InputError, match=r"000\.png has 40 x 30 pixels, its image 40 x 40"):
        predictor(files.images[0])
    label_map.unlink()
    with pytest.raises(InputError, match=r"maps/000\.png can't be read"):
        predictor(files.images[0])


def test_augmented_pipelines_run_without_their_annotations():
    flip, pack = [dict(type="RandomFlip", prob=1.0)], [dict(type="PackSegInputs")]
    load = [dict(type="mmseg.LoadAnnotations")]
    augment = dict(type="TestTimeAug", transforms=[flip, load, pack])
    steps = _without_annotations([*LOAD, augment])
    assert steps == [*LOAD, dict(type="TestTimeAug", transforms=[flip, pack])]


def picture_of(height, width, classes=2):
    image = np.random.default_rng(0).integers(0, 256, (height, width, 3)).astype(np.uint8)
    found = InstanceData(bboxes=torch.zeros(0, 4), scores=torch.zeros(0), labels=torch.zeros(0))
    names = [f"class {n}" for n in range(classes)]
    return Picture(
        "a.png", "x", image, names, [(n % 256, 0, 0) for n in range(classes)], found, None
    )


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ((96, 96), (480, 480)),
        ((60, 100), (300, 500)),
        ((480, 640), (480, 640)),
        ((2560, 1280), None),
    ],
)
def test_small_pictures_are_enlarged_by_whole_numbers_and_large_ones_reduced(shape, expected):
    (panel,) = panels(picture_of(*shape))
    assert panel.image.shape[:2] == (expected or (1280, 640))


def test_a_legend_of_many_classes_and_long_names_fits():
    picture = picture_of(96, 96, classes=150)
    map_ = PixelData(data=torch.arange(96 * 96).reshape(1, 96, 96) % 150)
    shown = Picture(**(vars(picture) | dict(prediction=map_, name="n" * 300, source="$s$" * 99)))
    figure = draw(shown)
    figure.canvas.draw()
    legend = figure.legends[0].get_window_extent()
    height = figure.get_figheight() * figure.dpi
    assert legend.x0 > 0 and legend.x1 <= figure.get_figwidth() * figure.dpi
    assert legend.y0 > 30 and legend.y1 < height - 480
    for text in figure.texts:
        assert text.get_window_extent().x1 <= figure.get_figwidth() * figure.dpi
