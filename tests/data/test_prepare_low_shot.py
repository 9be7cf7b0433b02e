"""Lists of labelled subsets: the very images that the low-shot leaves draw."""

import os

import pytest
from prepare_sets import write_file, write_folder

from semaim_mm.data import ImageFolder
from semaim_mm.data.prepare import write_low_shot
from semaim_mm.errors import InputError
from semaim_mm.runtime.launch import load_config
from semaim_mm.runtime.spread import spread_keys

# where each kind of leaf has the images that it trains on
LEAVES = {
    "configs/cls/lowshot-1pct_finetune_vitb.py": "train_dataloader.dataset.dataset",
    "configs/cls/lowshot-10pct_finetune_vitb.py": "train_dataloader.dataset.dataset",
    "configs/cls/lowshot-1pct_logreg_vitb.py": "test_cfg.bank_dataloader.dataset",
    "configs/cls/lowshot-10pct_logreg_vitb.py": "test_cfg.bank_dataloader.dataset",
}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """``imagenet`` with 2 classes of 200 and 1 of 60 images."""
    folder = tmp_path_factory.mktemp("my data")
    root = write_folder(folder / "imagenet", classes=("cat", "dög dog"), train=200)
    write_folder(root, classes=("z",), train=60)
    return folder


def images(config, place, **options):
    """-> what a leaf's training set holds, by path below its folder."""
    cfg = load_config(config, {f"{place}.{key}": value for key, value in options.items()})
    spread_keys(cfg)
    dataset = cfg
    for key in place.split("."):
        dataset = dataset[key]
    dataset = dict(dataset, pipeline=[])
    assert dataset.pop("type") == "ImageFolder"
    found = ImageFolder(**dataset)
    infos = [found.get_data_info(index) for index in range(len(found))]
    return [os.path.relpath(info["img_path"], found.img_prefix) for info in infos], [
        info["gt_label"] for info in infos
    ]


@pytest.mark.parametrize(("config", "seed"), list(zip(LEAVES, (0, 3, 2, 0), strict=True)))
def test_a_list_is_what_the_leaf_draws_and_the_leaf_takes_it(data, monkeypatch, config, seed):
    monkeypatch.setenv("SEMAIM_DATA", str(data))
    share = "10pct" if "10pct" in config else "1pct"
    path = data / "imagenet" / f"lowshot-{share}_seed{seed}.txt"
    assert path in write_low_shot(data / "imagenet", seed)
    place = LEAVES[config]
    drawn = images(config, place, **{"subset.seed": seed})
    listed = images(config, place, **{"subset.fraction": None, "subset.file": str(path)})
    assert drawn == listed
    assert path.read_text(encoding="utf-8").splitlines() == drawn[0]
    # a tenth of 460 images over three classes is 15 each, a hundredth 2 each
    assert [drawn[1].count(label) for label in range(3)] == [15 if share == "10pct" else 2] * 3


def test_lists_are_a_function_of_the_seed(data):
    first, other = (write_low_shot(data / "imagenet", seed) for seed in (0, 1))
    again = [path.read_bytes() for path in first]
    assert [path.read_bytes() for path in write_low_shot(data / "imagenet", 0)] == again
    assert [path.read_bytes() for path in other] != again


def test_a_published_list_of_bare_names_goes_by_the_leafs_key(data, tmp_path, monkeypatch):
    root = tmp_path / "imagenet"
    for name in ("n01440764", "n01443537"):
        for number in range(4):
            write_file(root / "train" / name / f"{name}_{number}.JPEG")
    monkeypatch.setenv("SEMAIM_DATA", str(tmp_path))
    published = tmp_path / "1percent.txt"
    published.write_text("n01443537_2.JPEG\nn01440764_0.JPEG\n")
    config = "configs/cls/lowshot-1pct_finetune_vitb.py"
    options = {"subset.fraction": None, "subset.file": str(published)}
    paths, labels = images(config, LEAVES[config], **options)
    assert paths == ["n01440764/n01440764_0.JPEG", "n01443537/n01443537_2.JPEG"]
    assert labels == [0, 1]


@pytest.mark.parametrize("name", ["line\nbreak", " outer", " cat", os.fsdecode(b"no text \xff")])
def test_names_that_a_list_cannot_hold_are_refused(tmp_path, name):
    write_file(tmp_path / "train" / name / "0.jpg")
    write_file(tmp_path / "train" / "cat" / "0.jpg")
    with pytest.raises(InputError, match="a list of one a line can't hold"):
        write_low_shot(tmp_path, 0)
    assert not list(tmp_path.glob("*lowshot*"))


def test_a_set_without_labelled_training_images_is_a_sentence(tmp_path):
    with pytest.raises(InputError, match="no image folder at"):
        write_low_shot(tmp_path, 0)
