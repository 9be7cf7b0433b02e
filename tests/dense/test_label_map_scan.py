"""Label maps: every fault is named by file and count; label 0 is what the config says it is."""

from __future__ import annotations

import copy
import os
import pickle
import shutil
import warnings
from pathlib import Path

import numpy as np
import pytest
from mmengine.dataset import pseudo_collate
from mmengine.registry import DATASETS, init_default_scope
from PIL import Image
from torch.utils.data import DataLoader

from semaim_mm.data.keyed import KeyedDataset, SampleKey
from semaim_mm.dense import label_maps
from semaim_mm.dense.label_map_scan import KINDS, image_size, scan_label_maps
from semaim_mm.dense.label_maps import CheckedADE20K
from semaim_mm.errors import InputError, UnreadableImageError

SAMPLE = Path(__file__).resolve().parents[2] / "data" / "sample" / "ade"
CLASSES = ("sky", "tree", "road")
WIDTH, HEIGHT = 20, 12
PIPELINE = [dict(type="LoadImage"), dict(type="LoadAnnotations"), dict(type="PackSegInputs")]


def grey(width: int = WIDTH, height: int = HEIGHT, low: int = 0, high: int = 2) -> np.ndarray:
    """A label map with all values from ``low`` to ``high``."""
    values = np.arange(width * height).reshape(height, width) % (high - low + 1) + low
    return values.astype(np.uint8)


def add(root: Path, name: str, image: np.ndarray | None, label_map: np.ndarray | None, **how):
    """Write an image and its label map; None leaves one out."""
    for folder, pixels, suffix in (("images", image, ".jpg"), ("maps", label_map, ".png")):
        if pixels is not None:
            path = root / folder / f"{name}{suffix}"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(path, **(how if folder == "images" else {}))


def picture(width: int = WIDTH, height: int = HEIGHT) -> np.ndarray:
    return np.full((height, width, 3), 90, np.uint8)


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:60])


def missing_maps(root: Path) -> None:
    add(root, "x1", picture(), None)
    add(root, "sub/x2", picture(), None)


def stray_maps(root: Path) -> None:
    add(root, "x3", None, grey())


def unreadable(root: Path) -> None:
    add(root, "x4", picture(), grey())
    truncate(root / "maps" / "x4.png")
    add(root, "x5", picture(), grey())
    (root / "images" / "x5.jpg").write_text("no image")


def wrong_modes(root: Path) -> None:
    add(root, "x6", picture(), np.stack([grey()] * 3, axis=-1))


def wrong_sizes(root: Path) -> None:
    add(root, "x7", picture(), grey(HEIGHT, WIDTH))


def wrong_values(root: Path) -> None:
    add(root, "x8", picture(), grey(high=5))
    add(root, "x9", picture(), grey().astype(np.uint16) + 256)  # mmseg would take 256 for 0


SPOIL = dict(
    missing_maps=(missing_maps, "images without a label map: 2 (sub/x2.jpg, x1.jpg)"),
    stray_maps=(stray_maps, "label maps without an image: 1 (x3.png)"),
    unreadable=(unreadable, "can't be read: 2 (x4.png, x5.jpg)"),
    wrong_modes=(wrong_modes, "one channel of integers: 1 (x6.png, RGB)"),
    wrong_sizes=(wrong_sizes, "size than their image: 1 (x7.png, 12 x 20 for 20 x 12)"),
    wrong_values=(wrong_values, "no class: 2 (x8.png, 3, 4, 5, x9.png, 256, 257, 258)"),
)


@pytest.fixture(autouse=True)
def surroundings(tmp_path, monkeypatch):
    """mmseg's scope and a cache of the test's own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    init_default_scope("mmseg")


@pytest.fixture
def root(tmp_path) -> Path:
    """Four sound pairs: plain, with 255, with a palette, in a folder below."""
    root = tmp_path / "set"
    add(root, "a", picture(), grey())
    ignored = grey()
    ignored[0] = 255
    add(root, "b", picture(), ignored)
    add(root, "c", picture(), None)
    coloured = Image.fromarray(grey(high=1)).convert("P")
    coloured.putdata(grey(high=1).ravel().tolist())
    coloured.putpalette([255, 0, 0, 0, 255, 0, 0, 0, 255])
    coloured.save(root / "maps" / "c.png")
    add(root, "sub/d", picture(9, 7), grey(9, 7))
    return root


def build(root: Path, **changes):
    settings = dict(
        type="CheckedLabelMaps",
        data_root=str(root),
        data_prefix=dict(img_path="images", seg_map_path="maps"),
        metainfo=dict(classes=CLASSES),
        pipeline=copy.deepcopy(PIPELINE),
        serialize_data=False,
    )
    return DATASETS.build(settings | changes)


def refusal(root: Path, **changes) -> str:
    with pytest.raises(InputError) as caught:
        build(root, **changes)
    return str(caught.value)


def infos(dataset) -> list[dict]:
    return [dataset.get_data_info(index) for index in range(len(dataset))]


def test_a_sound_set_passes_and_loads_as_mmseg_loads_it(root):
    dataset = build(root)
    plain = build(root, type="BaseSegDataset")
    assert infos(dataset) == infos(plain)
    assert [Path(info["img_path"]).stem for info in infos(dataset)] == ["a", "b", "c", "d"]
    assert (dataset.dropped, dataset.passed_over) == ({}, {})
    assert dataset.metainfo["classes"] == CLASSES
    assert len(dataset.metainfo["palette"]) == 3


@pytest.mark.parametrize("test_mode", [False, True])
@pytest.mark.parametrize("kind", sorted(SPOIL))
def test_each_fault_by_itself_is_named_with_file_and_count(root, kind, test_mode):
    spoil, words = SPOIL[kind]
    spoil(root)
    message = refusal(root, test_mode=test_mode)
    assert words in message
    assert str(root / "images") in message
    assert message.count("\n  - ") == 1 + (kind == "wrong_values")  # which adds a suggestion
    assert ("evaluation leaves nothing out" if test_mode else "bad_annotations='drop'") in message


@pytest.mark.parametrize("kind", sorted(SPOIL))
def test_dropping_a_fault_equals_a_set_that_never_had_it(root, kind):
    clean = infos(build(root))
    SPOIL[kind][0](root)
    dataset = build(root, faults="drop")
    assert infos(dataset) == clean
    assert dataset.dropped == {kind: int(SPOIL[kind][1].split(": ")[1].split()[0])}
    assert [tuple(dataset[i]["inputs"].shape[1:]) for i in range(4)] == [(12, 20)] * 3 + [(7, 9)]


def test_all_faults_together_are_told_at_once_and_dropped_together(root):
    clean = infos(build(root))
    for spoil, _ in SPOIL.values():
        spoil(root)
    message = refusal(root)
    for _, words in SPOIL.values():
        assert words in message
    dataset = build(root, faults="drop")
    assert infos(dataset) == clean
    assert set(dataset.dropped) == set(SPOIL)
    assert set(SPOIL) | {"missing_images"} == set(KINDS)
    assert "evaluation leaves nothing out" in refusal(root, faults="drop", test_mode=True)


def test_a_list_of_samples_is_checked_for_what_it_names(root):
    wrong_sizes(root)
    stray_maps(root)
    (root / "list.txt").write_text("a\nsub/d\n")
    assert len(build(root, ann_file="list.txt")) == 2
    (root / "list.txt").write_text("a\ngone\nx7\n")
    message = refusal(root, ann_file="list.txt")
    assert "not in the folder: 1 (gone.jpg)" in message
    assert "x7.png, 12 x 20 for 20 x 12" in message
    dataset = build(root, ann_file="list.txt", faults="drop")
    assert [Path(info["img_path"]).stem for info in infos(dataset)] == ["a"]
    assert dataset.dropped == dict(missing_images=1, wrong_sizes=1)


def test_wrong_places_and_words_are_told_before_anything_is_read(root, monkeypatch):
    monkeypatch.setattr(label_maps, "list_files", None)
    prefix = dict(img_path="images", seg_map_path="maps")
    for changes, words in [
        (dict(data_prefix=prefix | dict(img_path="x")), f"no image folder at {root}/x"),
        (dict(data_prefix=prefix | dict(seg_map_path="y")), f"no label map folder at {root}/y"),
        (dict(data_prefix=prefix | dict(seg_map_path="y")), "data_prefix=dict(seg_map_path=...)"),
        (dict(ann_file="z.txt"), f"no list of samples at {root}/z.txt"),
        (dict(faults="skip"), "neither 'stop' nor 'drop'"),
        (dict(metainfo=None), "CheckedLabelMaps does not know its classes"),
        (dict(metainfo=dict(classes="sky")), "with the comma"),
    ]:
        assert words in refusal(root, **changes)


def test_a_folder_without_images_of_that_suffix_is_refused(root):
    assert "label maps without an image: 4" in refusal(root, img_suffix=".jpeg")
    shutil.rmtree(root / "maps")
    (root / "maps").mkdir()
    message = refusal(root, img_suffix=".jpeg")
    assert "No image of" in message
    assert "*.jpeg" in message


def test_images_alone_pass_where_no_label_maps_are_asked_for(root):
    pipeline = [dict(type="LoadImage"), dict(type="PackSegInputs")]
    prefix = dict(img_path=str(root / "images"))
    dataset = build(root, data_prefix=prefix, pipeline=pipeline, test_mode=True)
    assert len(dataset) == 4


def test_an_image_that_its_exif_turns_is_compared_as_it_is_loaded(root):
    exif = Image.Exif()
    exif[0x0112] = 6
    add(root, "turned", picture(), grey(HEIGHT, WIDTH), exif=exif)
    assert image_size(root / "images" / "turned.jpg") == (HEIGHT, WIDTH)
    dataset = build(root)
    index = [Path(info["img_path"]).stem for info in infos(dataset)].index("turned")
    item = dataset[index]
    assert item["inputs"].shape[1:] == (WIDTH, HEIGHT)
    assert item["data_samples"].gt_sem_seg.data.shape[1:] == (WIDTH, HEIGHT)


def test_a_map_without_any_class_is_kept_and_counted(root):
    add(root, "e", picture(), np.full((HEIGHT, WIDTH), 255, np.uint8))
    dataset = build(root)
    assert len(dataset) == 5
    assert dataset.passed_over == dict(blank_maps=1)
    shutil.rmtree(root / "maps")
    for name in ("a", "b", "c", "e"):
        add(root, name, None, grey(low=1, high=3))
    add(root, "sub/d", None, np.zeros((7, 9), np.uint8))
    dataset = build(root, reduce_zero_label=True)
    assert dataset.passed_over == dict(blank_maps=1)


def raw_maps(root: Path, low: int, high: int) -> None:
    """The same four images, with maps that hold all values from ``low`` to ``high``, and 255."""
    shutil.rmtree(root / "maps")
    for name, sides in (("a", ()), ("b", ()), ("c", ()), ("sub/d", (9, 7))):
        values = grey(*sides, low=low, high=high)
        values[0, 0] = 255
        add(root, name, None, values)


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
    return build(root, **dict(type="CheckedADE20K", metainfo=None) | changes)


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


def test_the_shipped_sample_passes():
    for split in ("training", "validation"):
        dataset = build(
            SAMPLE,
            data_prefix=dict(img_path=f"images/{split}", seg_map_path=f"annotations/{split}"),
            metainfo=dict(classes=("one", "two", "three", "four")),
            reduce_zero_label=True,
            test_mode=split == "validation",
        )
        assert len(dataset) == len(list((SAMPLE / "images" / split).iterdir()))
