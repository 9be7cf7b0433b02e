"""A held-out part of a training set: by name alone, disjoint from the rest, for every task."""

from __future__ import annotations

from pathlib import Path

import pytest
from dense_data import write_ade, write_coco
from mmengine.registry import DATASETS, init_default_scope

from semaim_mm.data.held_out import innermost, is_held_out
from semaim_mm.errors import InputError
from semaim_mm.runtime.launch import load_config
from semaim_mm.runtime.spread import spread_keys

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
LEAVES = {
    "coco": "det/mask-rcnn_tiny_vitdet.py",
    "ade": "seg/upernet_tiny.py",
    "cls": "cls/finetune_tiny.py",
}


@pytest.fixture(scope="module")
def data(tmp_path_factory, make_images_once):
    root = tmp_path_factory.mktemp("data") / "sample"
    write_coco(root / "coco", ["animal", "food", "vehicle"], count=20)
    write_ade(root / "ade", classes=4, count=20)
    for split in ("train", "val"):
        for label in range(6):
            make_images_once(root / "cls" / split / f"class{label}", 8)
    return root.parent


@pytest.fixture(scope="module")
def make_images_once():
    from conftest import write_images

    def write(folder, count):
        for path in write_images(folder, count):
            path.rename(path.with_name(f"{folder.name}-{path.name}"))

    return write


def names_of(loader) -> list[str]:
    dataset = DATASETS.build(innermost(loader.dataset))
    places = [dataset.get_data_info(index) for index in range(len(dataset))]
    return [str(Path(info["img_path"])) for info in places]


@pytest.fixture(autouse=True)
def surroundings(data, tmp_path, monkeypatch):
    monkeypatch.setenv("SEMAIM_DATA", str(data))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def test_the_share_held_out_is_the_one_asked_for():
    names = [f"image{number}.jpg" for number in range(20_000)]
    assert sum(is_held_out(name, 0.1) for name in names) == pytest.approx(2000, abs=130)
    smaller = {name for name in names if is_held_out(name, 0.05)}
    assert smaller < {name for name in names if is_held_out(name, 0.1)}


@pytest.mark.parametrize("task", LEAVES)
def test_every_task_trains_on_the_rest_and_tests_on_the_held_out_images(task):
    plain = load_config(str(CONFIGS / LEAVES[task]))
    spread_keys(plain)
    init_default_scope(plain.default_scope)
    everything = names_of(plain.train_dataloader)
    cfg = load_config(str(CONFIGS / LEAVES[task]), {"holdout": 0.3})
    spread_keys(cfg)
    rest, held_out = names_of(cfg.train_dataloader), names_of(cfg.test_dataloader)
    assert rest and held_out
    assert sorted(rest + held_out) == sorted(everything)
    assert held_out == names_of(cfg.val_dataloader)
    assert not set(held_out) & set(names_of(plain.test_dataloader))
    # how images are prepared is still the test's affair
    tested = innermost(cfg.test_dataloader.dataset)
    assert tested.pipeline == innermost(plain.test_dataloader.dataset).pipeline
    if task == "coco":
        assert cfg.test_evaluator.ann_file.endswith("instances_train.json")
        assert tested.test_mode is True


@pytest.mark.parametrize("share", [0, 1, 1.5])
def test_a_share_that_is_none_is_refused(share):
    cfg = load_config(str(CONFIGS / LEAVES["cls"]), {"holdout": share})
    spread_keys(cfg)
    with pytest.raises(InputError, match=f"holdout={share} is no share"):
        names_of(cfg.train_dataloader)


def test_too_few_images_to_hold_any_out_are_refused():
    cfg = load_config(str(CONFIGS / LEAVES["cls"]), {"holdout": 1e-6})
    spread_keys(cfg)
    with pytest.raises(InputError, match="Of the 48 images of .*train none is held out"):
        names_of(cfg.test_dataloader)


def test_a_config_that_trains_nothing_holds_nothing_out():
    cfg = load_config(str(CONFIGS / "cls/knn_tiny.py"), {"holdout": 0.1})
    with pytest.raises(InputError, match="this one has no train_dataloader"):
        spread_keys(cfg)


def test_another_test_set_and_a_holdout_exclude_each_other():
    cfg = load_config(str(CONFIGS / "cls/finetune_vitb.py"), {"holdout": 0.1})
    cfg.test_set = "imagenet-a"
    with pytest.raises(InputError, match="leave one of them out"):
        spread_keys(cfg)
