"""The loop that extracts and judges: what it refuses before the extraction, what it leaves."""

from pathlib import Path

import numpy as np
import pytest
from conftest import write_images

from semaim_mm.errors import InputError
from semaim_mm.runtime.launch import build_runner, load_config
from semaim_mm.transfer import protocol

CLASSES = ("ant", "bee", "cat")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Three classes, eight training images each but one of 'cat', two validation images each."""
    root = tmp_path_factory.mktemp("classes")
    for index, name in enumerate(CLASSES):
        write_images(root / "train" / name, 1 if name == "cat" else 8, size=64, seed=index)
        write_images(root / "val" / name, 2, size=64, seed=index + 10)
    return root


@pytest.fixture
def runner(folder, tmp_path, monkeypatch):
    """A function that builds the runner of a leaf; extracting anything but on demand fails."""

    def build(leaf, extract=False, **overrides):
        def refuse(*args):
            raise AssertionError("features were extracted")

        if not extract:
            monkeypatch.setattr(protocol, "extract_features", refuse)
        options = {
            "log_level": "ERROR",
            "data_root": str(folder),
            "model.backbone.init_cfg": None,
            "test_dataloader.num_workers": 0,
            "test_cfg.bank_dataloader.num_workers": 0,
        }
        return build_runner(
            load_config(f"configs/cls/{leaf}.py", options | overrides, str(tmp_path))
        )

    return build


def test_a_class_with_one_image_stops_the_probe_before_the_extraction(runner):
    with pytest.raises(InputError, match=r"1 of 3 classes .* \(class 2: 1\)"):
        runner("probe_tiny").test()


def test_more_neighbours_than_images_stop_before_the_extraction(runner):
    with pytest.raises(InputError, match="training set of 17 images"):
        runner("knn_tiny").test()


def test_a_full_disk_stops_before_the_extraction(runner, monkeypatch):
    from semaim_mm.transfer import feature_store

    usage = feature_store.shutil.disk_usage("/")._replace(free=1000)
    monkeypatch.setattr(feature_store.shutil, "disk_usage", lambda path: usage)
    options = {"test_evaluator.ks": [1], "test_evaluator.headline_k": 1}
    with pytest.raises(InputError, match="on disk, but"):
        runner("knn_tiny", **options).test()


@pytest.fixture(scope="module")
def fuller(tmp_path_factory):
    root = tmp_path_factory.mktemp("fuller")
    for index, name in enumerate(CLASSES):
        write_images(root / "train" / name, 8, size=64, seed=index)
        write_images(root / "val" / name, 2, size=64, seed=index + 10)
    return root


def test_every_pooling_is_trained_on_one_extraction(runner, fuller, tmp_path):
    options = {
        "data_root": str(fuller),
        "model.poolings": ["cls", "both", "attentive"],
        "model.attentive_layers": [-1],
        "model.attentive_share": 0.5,
        "test_evaluator.epochs": 2,
        "test_cfg.keep_features": True,
        "test_cfg.cache_dir": str(tmp_path / "cache"),
    }
    built = runner("probe_tiny", extract=True, **options)
    metrics = built.test()
    names = {name.split("/")[0] for name in metrics if "/" in name}
    pooled = {f"layer{n}.{kind}" for n in range(4) for kind in ("cls", "both")}
    assert names == pooled | {"layer3.attentive"}
    assert built.test_loop.outcome.chosen["features_stored_as"] == "float32"
    # four of eight images a class, 64 patches of 96 numbers in float16
    cache = tmp_path / "cache"
    assert (cache / "train.tokens.bin").stat().st_size == 12 * 64 * 96 * 2
    assert np.fromfile(cache / "train.pooled.bin", np.float32).size == 24 * 4 * 2 * 96
    assert (cache / "layout.json").is_file()


def test_nothing_is_left_of_the_features(runner, fuller):
    built = runner("probe-last_tiny", True, data_root=str(fuller), **{"test_evaluator.epochs": 1})
    built.test()
    assert not (Path(built.work_dir) / "features").exists()
