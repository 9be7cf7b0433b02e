"""A set of one's own in any layout: its manifest is what records, stages and overlap go by."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from dense_data import write_ade, write_coco
from prepare_sets import write_file

from semaim_mm.data.prepare import (
    check,
    data_record,
    find_overlaps,
    judge,
    manifest_of,
    prepare,
    read_overlaps,
)
from semaim_mm.data.prepare.manifest import read_listing
from semaim_mm.errors import InputError
from semaim_mm.runtime.launch import load_config
from semaim_mm.runtime.spread import spread_keys
from semaim_mm.suite.stages import Stage
from semaim_mm.suite.state import key_of, without_manifest

LEAF = "configs/det/mask-rcnn_tiny_vitdet.py"


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def hydrants(tmp_path) -> Path:
    """docs/bring.md's own COCO-format set: train.json, val.json and images/."""
    made = write_coco(tmp_path / "made", ["fire hydrant", "valve"])
    root = tmp_path / "hydrants"
    for split in ("train", "val"):
        content = json.loads((made / f"annotations/instances_{split}.json").read_text())
        for image in content["images"]:
            name = f"{split}_{image['file_name']}"
            (root / "images").mkdir(parents=True, exist_ok=True)
            shutil.move(made / split / image["file_name"], root / "images" / name)
            image["file_name"] = name
        (root / f"{split}.json").write_text(json.dumps(content))
    return root


def done(root: Path, kind: str = "folder") -> dict:
    return prepare(kind, root, say=lambda line: None).manifest


def said(root: Path, kind: str = "folder") -> str:
    with pytest.raises(InputError) as error:
        prepare(kind, root, partial=True, say=lambda line: None)
    return str(error.value)


def options(root: Path) -> dict:
    found = dict(data_root=str(root), classes=["fire hydrant", "valve"])
    places = dict(train="train_dataloader.dataset.dataset", val="val_dataloader.dataset")
    places["test"] = "test_dataloader.dataset"
    for split, place in places.items():
        found[f"{place}.ann_file"] = "train.json" if split == "train" else "val.json"
        found[f"{place}.data_prefix"] = dict(img="images/")
    return found


def test_every_file_is_listed_and_counted_by_folder(hydrants):
    write_file(hydrants / ".cache/left.jpg")
    manifest = done(hydrants)
    names = sorted(path.relative_to(hydrants).as_posix() for path in hydrants.glob("images/*"))
    assert [name for name, _ in read_listing(hydrants)] == [*names, "train.json", "val.json"]
    assert {k: v["files"] for k, v in manifest["splits"].items()} == {"": 6, "images": 4}
    assert manifest["splits"][""]["images"] == 4 and manifest["counts"] == {"": 2, "images": 4}
    assert manifest["as_published"] is None and manifest["kind"] == "folder"
    first = manifest_of(hydrants)
    done(hydrants)
    assert manifest_of(hydrants) == first, "its own files are no part of it"


def test_records_and_stages_go_by_it(hydrants, tmp_path):
    where = (LEAF, options(hydrants), tmp_path / "stage")
    stage = Stage("mine/det", "train", "mine", "det", 0, *where)
    bare = key_of(stage)
    assert without_manifest([stage]) == [str(hydrants)]
    done(hydrants)
    assert without_manifest([stage]) == []
    cfg = load_config(LEAF, options(hydrants))
    spread_keys(cfg)
    recorded = dict(name="hydrants", folder="images", manifest_sha256=manifest_of(hydrants))
    assert data_record(cfg.test_dataloader.dataset) == recorded
    first = key_of(stage)
    with (hydrants / "val.json").open("a") as file:
        file.write(" ")
    done(hydrants)
    assert len({bare, first, key_of(stage)}) == 3


def test_a_changed_annotation_file_is_named(hydrants):
    done(hydrants)
    (hydrants / "val.json").write_text("{}")
    with pytest.raises(InputError, match=r"changed files: 1 \(val.json\)"):
        check("folder", hydrants, say=lambda line: None)


def test_overlap_is_found_and_told_of_results(hydrants, tmp_path):
    web = tmp_path / "web"
    web.mkdir()
    shutil.copy(hydrants / "images/val_000001.jpg", web / "page.jpg")
    done(web, "imagefolder")
    done(hydrants)
    (record,) = find_overlaps(web, [hydrants], say=lambda line: None)
    assert record["shared"] == {"images/val_000001.jpg": dict(count=1, pretraining=["page.jpg"])}
    assert record["test"]["images"] == 4, "annotations are no images"
    test = data_record(dict(data_root=str(hydrants), data_prefix=dict(img="images/")))
    seen = data_record(dict(data_root=str(web)))
    result = dict(data=test, protocol=dict(training=None), checkpoint=dict(origin=dict(data=seen)))
    assert judge(result, read_overlaps(hydrants)).state == "seen"


def test_a_part_of_it_can_be_named(tmp_path):
    maps = write_ade(tmp_path / "floods", classes=2)
    done(maps)
    web = tmp_path / "web"
    shutil.copytree(maps / "images/training", web)
    done(web, "imagefolder")
    (whole,) = find_overlaps(web, [maps], say=lambda line: None)
    (part,) = find_overlaps(web, [maps / "images/validation"], say=lambda line: None)
    assert (whole["test"]["images"], whole["test_images_shared"]) == (8, 2)
    assert (part["test"]["images"], part["test_images_shared"]) == (2, 0)


def test_what_can_not_be_read_is_named(hydrants):
    write_file(hydrants / "notes.json", b"")
    (hydrants / "gone.json").symlink_to("nowhere")
    text = said(hydrants)
    assert "files of size 0, which can't be read: 1 (notes.json)" in text
    assert "broken links, or folders that may not be read: 1 (gone.json)" in text


def test_a_manifest_that_came_with_the_data_is_not_written_over(hydrants):
    (hydrants / "manifest.json").write_text('{"frames": 4}')
    assert "prepare_data.py did not write: 1 (manifest.json)" in said(hydrants)
    assert (hydrants / "manifest.json").read_text() == '{"frames": 4}'


def test_coco_of_other_names_is_told_of_it(hydrants):
    assert "A set of other names is prepared as 'folder'" in said(hydrants, "coco")
