"""Label 0 is what the config says it is; kept scans; worker processes."""

from __future__ import annotations

import os
import pickle
import warnings
from pathlib import Path

import numpy as np
import pytest
from label_map_files import (
    CLASSES,
    HEIGHT,
    PIPELINE,
    WIDTH,
    add,
    build,
    picture,
    raw_maps,
    refusal,
    truncate,
    write_set,
    wrong_sizes,
)
from mmengine.dataset import pseudo_collate
from mmengine.registry import init_default_scope
from PIL import Image
from torch.utils.data import DataLoader

from semaim_mm.data.keyed import KeyedDataset, SampleKey
from semaim_mm.dense import label_maps
from semaim_mm.dense.label_map_scan import scan_label_maps
from semaim_mm.dense.label_maps import CheckedADE20K
from semaim_mm.errors import InputError, UnreadableImageError


@pytest.fixture(autouse=True)
def surroundings(tmp_path, monkeypatch):
    """mmseg's scope and a cache of the test's own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    init_default_scope("mmseg")


@pytest.fixture
def root(tmp_path) -> Path:
    return write_set(tmp_path / "set")


@pytest.mark.parametrize("reduce_zero_label", [False, True])
def test_label_zero_is_ignored_or_a_class_through_the_real_pipeline(root, reduce_zero_label):
    raw_maps(root, 0, 3 if reduce_zero_label else 2)
    dataset = KeyedDataset(build(root, reduce_zero_label=reduce_zero_label))
    loaded = dataset[SampleKey(0, 0, 0)]["data_samples"].gt_sem_seg.data[0].numpy()
    stored = np.asarray(Image.open(root / "maps" / "a.png"))
    becomes = {0: 255, 1: 0, 2: 1, 3: 2} if reduce_zero_label else {0: 0, 1: 1, 2: 2}
    for value, label in (becomes | {255: 255}).items():
        assert (loaded[stored == value] == label).all()
        assert (stored == value).any()
    assert dataset.metainfo["reduce_zero_label"] is reduce_zero_label


def test_a_forgotten_reduce_zero_label_is_suggested(root):
    raw_maps(root, 0, 3)
    message = refusal(root)
    assert "the value 3 occurs, one above the last of the 3 classes" in message
    assert "set reduce_zero_label=True" in message
    raw_maps(root, 0, 4)
    assert "no class: 4 (a.png, 4, b.png, 4, c.png, 4, ...)" in refusal(
        root, reduce_zero_label=True
    )


def test_what_zero_is_has_to_be_said(root):
    """The last class need not occur in a split: then nothing in its maps tells."""
    raw_maps(root, 0, 2)
    assert "set reduce_zero_label=False" in refusal(root, reduce_zero_label=None)
    for said in (False, True):
        build(root, reduce_zero_label=said)


@pytest.mark.parametrize(("reduce_zero_label", "most"), [(False, 255), (True, 254)])
def test_more_classes_than_bytes_can_number_are_refused(root, reduce_zero_label, most):
    def names(count: int) -> dict:
        return dict(classes=tuple(f"class {number}" for number in range(count)))

    stored = np.full((HEIGHT, WIDTH), 300, np.uint16)
    for name in ("a", "b", "c"):
        add(root, name, None, stored)
    said = dict(reduce_zero_label=reduce_zero_label)
    message = refusal(root, metainfo=names(most + 1), **said)
    assert f"has {most + 1} classes" in message and f"leaves {most} with" in message
    # the most that there may be are loaded as they are stored, the last one too
    last = most if reduce_zero_label else most - 1
    raw_maps(root, last, last)
    loaded = build(root, metainfo=names(most), **said)[0]["data_samples"].gt_sem_seg.data
    assert set(np.unique(loaded)) == {most - 1, 255}


@pytest.mark.parametrize("in_pipeline", [False, True])
def test_a_pipeline_that_treats_label_zero_otherwise_is_refused(root, in_pipeline):
    raw_maps(root, 0, 3)
    load = dict(type="LoadAnnotations", reduce_zero_label=in_pipeline)
    for pipeline in (
        [PIPELINE[0], load, PIPELINE[2]],
        [dict(type="RandomApply", transforms=[load])],
        [dict(type="TestTimeAug", transforms=[[load], [PIPELINE[2]]])],
    ):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            message = refusal(root, reduce_zero_label=not in_pipeline, pipeline=pipeline)
        assert f"LoadAnnotations has reduce_zero_label={in_pipeline}" in message
        assert f"CheckedLabelMaps has {not in_pipeline}" in message


def ade(root: Path, **changes):
    own = dict(type="CheckedADE20K", metainfo=None, reduce_zero_label=True)
    return build(root, **own | changes)


def test_ade20k_takes_labels_1_to_150_and_makes_0_ignored(root):
    raw_maps(root, 0, 150)
    dataset = ade(root)
    assert len(dataset.metainfo["classes"]) == 150
    assert dataset.metainfo["palette"] == CheckedADE20K.METAINFO["palette"]
    assert dataset.metainfo["reduce_zero_label"] is True
    loaded = dataset[0]["data_samples"].gt_sem_seg.data[0].numpy()
    stored = np.asarray(Image.open(root / "maps" / "a.png"))
    assert (loaded[stored == 0] == 255).all()
    assert (loaded[stored == 1] == 0).all()
    assert (loaded[stored == 150] == 149).all()
    raw_maps(root, 0, 151)
    with pytest.raises(InputError, match=r"a\.png, 151"):
        ade(root)


def test_ade20k_without_reduce_zero_label_is_refused(root):
    with pytest.raises(InputError, match="CheckedADE20K needs reduce_zero_label=True"):
        ade(root, reduce_zero_label=False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        load = dict(type="LoadAnnotations", reduce_zero_label=False)
        with pytest.raises(InputError, match="leave it out of the pipeline"):
            ade(root, pipeline=[load], lazy_init=True)


def test_a_choice_of_ade20k_classes_may_meet_all_labels(root):
    raw_maps(root, 0, 150)
    dataset = ade(root, metainfo=dict(classes=("building", "wall")))
    assert dataset.metainfo["palette"] == [[180, 120, 120], [120, 120, 120]]
    loaded = dataset[0]["data_samples"].gt_sem_seg.data[0].numpy()
    assert set(np.unique(loaded)) == {0, 1, 255}
    with pytest.raises(InputError, match="CheckedADE20K has no class 'emoji'"):
        ade(root, metainfo=dict(classes=("emoji",)))


@pytest.fixture
def scans(monkeypatch) -> list:
    """How often the scan ran."""
    runs = []
    monkeypatch.setattr(
        label_maps, "scan_label_maps", lambda *args: runs.append(1) or scan_label_maps(*args)
    )
    return runs


def test_unchanged_files_are_scanned_once(root, scans):
    wrong_sizes(root)
    message = refusal(root)
    assert refusal(root) == message
    assert len(build(root, faults="drop")) == 4
    assert len(scans) == 1


@pytest.mark.parametrize("change", ["map", "image", "removed", "classes", "list"])
def test_what_changed_is_scanned_again(root, scans, change):
    build(root)
    if change == "map":
        os.utime(root / "maps" / "a.png", ns=(0, 0))
    elif change == "image":
        add(root, "a", picture(30, 30), None)
    elif change == "removed":
        (root / "maps" / "a.png").unlink()
    elif change == "list":
        (root / "list.txt").write_text("a\n")
    classes = (*CLASSES, "car") if change == "classes" else CLASSES
    changes = dict(metainfo=dict(classes=classes), ann_file="list.txt" if change == "list" else "")
    if change in ("image", "removed"):
        refusal(root, **changes)
    else:
        build(root, **changes)
    assert len(scans) == 2


@pytest.mark.parametrize("serialize_data", [True, False])
def test_it_waits_until_asked_and_goes_to_worker_processes(root, serialize_data):
    wrong_sizes(root)
    dataset = build(root, faults="drop", lazy_init=True, serialize_data=serialize_data)
    assert dataset.dropped == {}
    dataset = KeyedDataset(pickle.loads(pickle.dumps(dataset)))
    assert len(dataset) == 4
    assert dataset.dataset.dropped == dict(wrong_sizes=1)
    dataset = pickle.loads(pickle.dumps(dataset))
    assert dataset.get_data_info(SampleKey(0, 0, 3))["img_path"].endswith("d.jpg")
    loader = DataLoader(dataset, batch_size=2, num_workers=1, collate_fn=pseudo_collate)
    assert [len(batch["inputs"]) for batch in loader] == [2, 2]


def test_an_image_that_broke_since_is_named_by_the_pipeline(root):
    dataset = KeyedDataset(build(root))
    truncate(root / "images" / "b.jpg")
    with pytest.raises(UnreadableImageError, match=str(root / "images" / "b.jpg")):
        dataset[SampleKey(0, 0, 1)]
