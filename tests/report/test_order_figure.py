"""The order figure: it shows the model's own order and all others, and says what it can't show."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from mmpretrain.registry import MODELS
from PIL import Image

from semaim_mm.errors import InputError
from semaim_mm.interop.authors import to_authors
from semaim_mm.pretrain import ORDERS
from semaim_mm.report.order_data import (
    examine,
    load_model,
    order_names,
    picture_draws,
    read_picture,
)
from semaim_mm.report.order_figure import caption, draw, write_order_figures

PIXELS, FEATURES = "dict(type='PixelTarget')", "dict(type='GivenTokens', out_dims=7)"
CONFIG = """
model = dict(
    type='SemAIM',
    backbone=dict(
        type='SemAIMViT',
        arch=dict(embed_dims=16, num_layers=2, num_heads=2, feedforward_channels=32),
        img_size={size},
        patch_size=4,
        frozen_pos_embed=True,
        init_cfg=dict(type='BackboneCheckpoint', checkpoint='gone.pth'),
    ),
    neck=dict(type='SemAIMDecoder', query_depth=2),
    head=dict(type='SemAIMHead', loss={loss!r}),
    target_generator={target},
    order={order},
    data_preprocessor=dict(
        type='SelfSupDataPreprocessor', mean=[120.0, 115.0, 100.0], std=[58.0, 57.0, 56.0],
        to_rgb=True,
    ),
)
"""


@pytest.fixture
def run(tmp_path):
    """``run(order="'raster'")`` -> a checkpoint of a random model beside its config."""

    def make(order="'semantic'", target=PIXELS, size="(16, 24)", convert=None):
        loss = "l2" if "PixelTarget" in target else "unit_l2"
        text = CONFIG.format(size=size, loss=loss, target=target, order=order)
        folder = tmp_path / "run"
        folder.mkdir(exist_ok=True)
        (folder / "run.py").write_text(text)
        scope: dict = {}
        exec(text, scope)
        scope["model"]["backbone"].pop("init_cfg")
        torch.manual_seed(0)
        model = MODELS.build(scope["model"])
        for parameter in model.parameters():
            torch.nn.init.normal_(parameter, std=0.3)
        state = convert(model) if convert else model.state_dict()
        torch.save(dict(state_dict=state, meta=dict(cfg=text)), folder / "epoch_1.pth")
        return folder / "epoch_1.pth"

    return make


@pytest.fixture
def image(tmp_path, make_images):
    return make_images(tmp_path / "images", 1, size=40)[0]


def numbers(figure, order) -> np.ndarray:
    """The ranks written into an order's panel, row by row."""
    (axes,) = [axes for axes in figure.axes if axes.get_label() == order]
    return np.array([int(text.get_text()) for text in axes.texts])


def texts(figure) -> str:
    return "\n".join(text.get_text() for axes in [figure, *figure.axes] for text in axes.texts)


@pytest.mark.parametrize(
    "order",
    ["'semantic'", "'stochastic'", "dict(type='MultiCenterOrder', similarity='gap')", "'raster'"],
)
def test_the_ranks_drawn_are_those_of_the_models_order_with_the_same_draws(run, image, order):
    model = load_model(run(order))
    picture = examine(model, image, seed=5)
    pixels = torch.from_numpy(read_picture(image, (16, 24)).transpose(2, 0, 1).copy())[None]
    imgs = model.data_preprocessor(dict(inputs=pixels, data_samples=[]), False)["inputs"]
    expected = model.generation_ranks(imgs, model.target_generator(imgs), picture_draws(5))
    np.testing.assert_array_equal(numbers(draw(picture), picture.own), expected[0].numpy())
    loss, _ = model.pretrain_loss(imgs, expected)
    assert picture.loss == pytest.approx(loss.item(), rel=1e-6)


def test_every_registered_order_is_drawn_once_in_both_layouts(run, image):
    picture = examine(load_model(run()), image)
    assert len(order_names()) == len(set(ORDERS.module_dict.values())) >= 9
    assert set(picture.ranks) == set(order_names()) and picture.own == "semantic"
    for layout in ("full", "wide"):
        labels = [axes.get_label() for axes in draw(picture, layout).axes]
        assert all(labels.count(name) == 1 for name in picture.ranks)
    for ranks in picture.ranks.values():
        assert ranks.shape == (4, 6)
        np.testing.assert_array_equal(np.sort(ranks.flatten()), np.arange(24))


def test_the_centre_is_the_peak_of_the_map_and_every_order_with_one_shows_it(run, image):
    picture = examine(load_model(run()), image)
    peak = np.unravel_index(picture.similarity.argmax(), picture.similarity.shape)
    assert picture.centers["semantic"] == picture.centers["guided_center"] == [peak]
    assert picture.ranks["semantic"][peak] == 0
    assert picture.centers["multi_center"][0] == peak
    assert "raster" not in picture.centers and "similarity" not in picture.centers


def test_the_brightest_cell_of_the_drawn_map_is_the_starred_peak(run, image):
    picture = examine(load_model(run()), image)
    row, column = peak = picture.centers["semantic"][0]
    # nothing of a picture that is black at the peak alone may shine through
    black = np.full_like(picture.image, 255)
    black[4 * row : 4 * row + 4, 4 * column : 4 * column + 4] = 0
    figure = draw(replace(picture, image=black))
    axes = figure.axes[2]
    for star in list(axes.lines):
        star.remove()
    figure.canvas.draw()
    drawn = np.asarray(figure.canvas.buffer_rgba())[..., :3].astype(int).sum(2)
    box = axes.get_window_extent()
    rows, columns = picture.similarity.shape
    cells = np.empty((rows, columns))
    for row, column in np.ndindex(rows, columns):
        x = box.x0 + (column + 0.5) * box.width / columns
        y = drawn.shape[0] - (box.y1 - (row + 0.5) * box.height / rows)
        cells[row, column] = drawn[int(y), int(x)]
    assert np.unravel_index(cells.argmax(), cells.shape) == peak


def test_a_perfect_prediction_would_look_like_the_target(run, image, monkeypatch):
    model = load_model(run())
    monkeypatch.setattr(model, "predict", lambda imgs, keys: model.target_generator(imgs).values)
    picture = examine(model, image)
    assert np.abs(picture.prediction.astype(int) - picture.target).max() <= 1
    assert picture.image.shape == picture.target.shape == (16, 24, 3)
    assert "mean and std put back" in texts(draw(picture))
    # without blur the target is the picture itself, so colours and channels are in order
    model = load_model(run(target="dict(type='PixelTarget', blur_kernel=None, normalize=False)"))
    picture = examine(model, image)
    assert np.abs(picture.target.astype(int) - picture.image).max() <= 1
    assert "put back" not in texts(draw(picture))


def test_a_png_of_sensible_size_is_written_for_every_image(run, image, tmp_path):
    checkpoint = run()
    written = write_order_figures(checkpoint, [image, image], out=tmp_path / "figures")
    assert [path.name for path in written] == ["000.png", "000-2.png"]
    with Image.open(written[0]) as png:
        assert 1500 < png.width < 3000 and 500 < png.height < png.width
        assert np.asarray(png.convert("L")).std() > 20
    assert written[0].read_bytes() == written[1].read_bytes()
    (wide,) = write_order_figures(checkpoint, [image], layout="wide")
    assert wide.parent == checkpoint.parent / "order_figures"
    with Image.open(wide) as png:
        assert png.width > 3 * png.height


def test_the_seed_moves_what_is_random_and_nothing_else(run, image):
    model = load_model(run())
    one, two = examine(model, image, seed=1), examine(model, image, seed=2)
    assert (one.ranks["stochastic"] != two.ranks["stochastic"]).any()
    np.testing.assert_array_equal(one.ranks["snake"], two.ranks["snake"])


def test_ranks_are_not_written_into_a_fine_grid(run, image):
    picture = examine(load_model(run(size="(36, 36)")), image)
    assert numbers(draw(picture), "semantic").size == 0


def test_a_model_of_features_says_that_they_can_not_be_drawn(run, image):
    picture = examine(load_model(run("'multi_center'", FEATURES)), image)
    assert picture.target is None and picture.loss is None
    said = texts(draw(picture)).replace("\n", " ")
    assert "features can't be drawn as pixels" in said
    assert "no loss, the teacher of 7 teacher features a patch is not at hand" in said


def test_the_caption_names_checkpoint_order_and_loss_but_no_folder_above(run, image):
    checkpoint = run("'raster'")
    picture = examine(load_model(checkpoint), image, checkpoint)
    line = caption(picture)
    assert line.startswith("run/epoch_1.pth") and f"loss {picture.loss:.3f}" in line
    assert "order raster" in line and "the order does not read it" in line
    assert "$" not in line and str(checkpoint.parent.parent) not in texts(draw(picture))


def test_a_file_name_with_dollars_is_no_mathematics(run, image, tmp_path):
    odd = image.rename(image.with_name("a$\\frac$b.png"))
    assert write_order_figures(run(), [odd])[0].is_file()


def test_the_authors_checkpoint_is_drawn_with_a_config(run, image):
    ours = examine(load_model(run()), image)
    checkpoint = run(convert=lambda model: {f"module.{k}": v for k, v in to_authors(model).items()})
    theirs = examine(load_model(checkpoint), image)
    assert theirs.loss == pytest.approx(ours.loss, rel=1e-6)
    (checkpoint.parent / "run.py").rename(checkpoint.parent.parent / "elsewhere.py")
    with pytest.raises(InputError, match="0 configs"):
        load_model(checkpoint)
    load_model(checkpoint, checkpoint.parent.parent / "elsewhere.py")


EMA_MULTI = "dict(type='MultiTarget', generators=[dict(type='EMATarget')])"


@pytest.mark.parametrize(
    "reads",
    [
        "target_generator=dict(type='EMATarget'), similarity_from='target'",
        "target_generator=dict(type='EMATarget')",
        f"target_generator={EMA_MULTI}",
        "similarity_from='ema'",
    ],
)
def test_the_authors_checkpoint_has_no_copy_for_a_config_that_reads_one(reads, run, tmp_path):
    checkpoint = run(convert=to_authors)
    loss = "l2" if reads.startswith("sim") else "unit_l2"
    head = "dict(type='MultiHead', heads=[dict(loss='unit_l2')])" if "Multi" in reads else None
    head = head or f"dict(type='SemAIMHead', loss={loss!r})"
    text = CONFIG.format(size="(16, 24)", loss="l2", target=PIXELS, order="'semantic'")
    config = tmp_path / "other.py"
    config.write_text(f"{text}\nmodel.update(head={head}, ema=dict(), {reads})\n")
    with pytest.raises(InputError, match="no averaged copy .*other.py reads .* would be random"):
        load_model(checkpoint, config)


def test_of_several_configs_beside_a_checkpoint_the_runs_own_is_taken(run):
    checkpoint = run()
    (checkpoint.parent / "other.py").write_text("model = dict(type='Other')")
    load_model(checkpoint)
    (checkpoint.parent / "run.py").rename(checkpoint.parent / "another.py")
    with pytest.raises(InputError, match=r"2 configs .* --config"):
        load_model(checkpoint)


def test_weights_or_a_config_of_another_model_are_sentences(run, tmp_path):
    checkpoint = run()
    state = torch.load(checkpoint)["state_dict"]
    torch.save({k: v for k, v in state.items() if not k.startswith("neck.")}, checkpoint)
    with pytest.raises(InputError, match="it lacks neck"):
        load_model(checkpoint)
    torch.save(state | {"neck.more": torch.ones(1)}, checkpoint)
    with pytest.raises(InputError, match=r"has no neck\.more"):
        load_model(checkpoint)
    torch.save(state | {"backbone.ln1.bias": torch.ones(5)}, checkpoint)
    with pytest.raises(InputError, match="does not fit"):
        load_model(checkpoint)
    other = tmp_path / "other.py"
    other.write_text("model = dict(type='ImageClassifier')")
    with pytest.raises(InputError, match="ImageClassifier"):
        load_model(checkpoint, other)


def test_what_is_no_image_is_a_sentence(run, tmp_path):
    (tmp_path / "text.png").write_text("no picture")
    for name in ("text.png", "missing.png"):
        with pytest.raises(InputError, match=name):
            write_order_figures(run(), [tmp_path / name])


def test_a_folder_that_can_not_be_written_is_a_sentence(run, image, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="--out"):
        write_order_figures(run(), [image], out=tmp_path / "file")
