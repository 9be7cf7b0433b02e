"""Manifest, listing and cache of prepared data: equal bytes, none half-written, changes named."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import pytest
from prepare_sets import OLD, write_file, write_folder

from semaim_mm.data.prepare import (
    check,
    data_record,
    find_manifest,
    hashing,
    kept,
    manifest_of,
    prepare,
)
from semaim_mm.data.prepare import manifest as manifests
from semaim_mm.data.prepare.manifest import read_listing, read_manifest
from semaim_mm.errors import InputError
from semaim_mm.runtime.launch import load_config
from semaim_mm.runtime.spread import spread_keys

TOOL = Path(__file__).resolve().parents[2] / "tools" / "prepare_data.py"


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def root(tmp_path):
    return write_folder(tmp_path / "my set")


@pytest.fixture
def hashed(monkeypatch):
    """-> the list of files that are read to be hashed."""
    read = []

    def counted(path):
        read.append(Path(path).name)
        return hashlib.sha256(Path(path).read_bytes()).hexdigest()

    monkeypatch.setattr(hashing, "sha256_of", counted)
    return read


def done(root):
    return prepare("imagefolder", root, say=lambda line: None)


def checked(root):
    return check("imagefolder", root, say=lambda line: None)


def said(root):
    with pytest.raises(InputError) as error:
        checked(root)
    return str(error.value)


def test_the_listing_is_what_sha256sum_reads(root):
    for name in ("with space.jpg", "naïve ☃.jpg", "back\\slash\n.jpg", os.fsdecode(b"\xff.jpg")):
        write_file(root / "train/cat" / name, os.fsencode(name))
    done(root)
    subprocess.run(["sha256sum", "-c", "--quiet", "files.sha256"], cwd=root, check=True)
    hashes = dict(read_listing(root))
    files = list(root.rglob("*.jpg"))
    assert len(hashes) == len(files) == 16
    for path in files:
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        assert hashes[path.relative_to(root).as_posix()] == digest


def test_the_same_files_have_the_same_manifest_wherever_they_lie(root, tmp_path):
    done(root)
    shutil.copytree(root, tmp_path / "copy", ignore=shutil.ignore_patterns("*.json", "*.sha256"))
    write_file(tmp_path / "copy/README.txt")
    write_file(tmp_path / "copy/train/.hidden")
    done(tmp_path / "copy")
    for name in ("manifest.json", "files.sha256"):
        assert (root / name).read_bytes() == (tmp_path / "copy" / name).read_bytes()
    first = manifest_of(root)
    write_file(root / "val/cat/0.jpg", b"other pixels")
    done(root)
    assert manifest_of(root) != first


def test_the_manifest_vouches_for_the_listing_as_the_samples_does(root):
    manifest = done(root).manifest
    listing = (root / "files.sha256").read_bytes()
    assert manifest["files"]["listing_sha256"] == hashlib.sha256(listing).hexdigest()
    assert manifest["files"]["bytes"] == sum(p.stat().st_size for p in root.rglob("*.jpg"))
    assert manifest == json.loads((root / "manifest.json").read_text()) == read_manifest(root)
    assert {"name", "version", "counts", "files"} <= manifest.keys()


def test_a_second_run_reads_no_file_and_a_third_only_what_changed(root, hashed):
    done(root)
    assert len(hashed) == 12
    first = (root / "manifest.json").read_bytes()
    hashed.clear()
    done(root)
    assert hashed == [] and (root / "manifest.json").read_bytes() == first
    write_file(root / "train/cat/3.jpg", b"longer than before")
    os.utime(root / "train/cat/2.jpg", (OLD + 1, OLD + 1))
    done(root)
    assert sorted(hashed) == ["2.jpg", "3.jpg"]


def test_a_file_that_changed_just_now_is_not_kept_for_it_may_change_again_unseen(root, hashed):
    (root / "train/cat/3.jpg").write_bytes(b"new")
    done(root)
    hashed.clear()
    done(root)
    assert hashed == ["3.jpg"]


def test_an_interrupted_run_goes_on_where_it_was(root, hashed, monkeypatch):
    monkeypatch.setattr(hashing, "CHUNK", 4)
    sound = hashing.sha256_of

    def stops(path):
        if len(hashed) == 9:
            raise KeyboardInterrupt
        return sound(path)

    monkeypatch.setattr(hashing, "sha256_of", stops)
    with pytest.raises(KeyboardInterrupt):
        done(root)
    assert not (root / "manifest.json").exists()
    monkeypatch.setattr(hashing, "sha256_of", sound)
    hashed.clear()
    done(root)
    assert len(hashed) == 4  # two chunks of four were kept
    assert len(dict(read_listing(root))) == 12


def test_a_run_stopped_between_listing_and_manifest_is_noticed(root, monkeypatch):
    done(root)
    write_file(root / "val/cat/0.jpg", b"other pixels")
    monkeypatch.setattr(manifests.json, "dumps", lambda *args, **kwargs: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        done(root)
    monkeypatch.undo()
    assert "not the listing that manifest.json was written with" in said(root)
    assert not [path.name for path in root.iterdir() if path.suffix == ".tmp"]


def test_a_broken_cache_costs_a_line_and_nothing_else(root, capsys):
    done(root)
    first = (root / "manifest.json").read_bytes()
    for path in kept.hashes_folder().iterdir():
        path.write_bytes(b"no data base" * 100)
    done(root)
    assert "going on without" in capsys.readouterr().err
    assert (root / "manifest.json").read_bytes() == first


def test_files_that_may_not_be_read_are_named(root, hashed, monkeypatch):
    sound = hashing.sha256_of

    def denied(path):
        if Path(path).name == "1.jpg":
            raise PermissionError(13, "denied")
        return sound(path)

    monkeypatch.setattr(hashing, "sha256_of", denied)
    with pytest.raises(InputError, match="4 files that can't be read .train/cat/1.jpg"):
        done(root)


def test_a_file_that_changes_while_it_is_read_stops_the_run(root, hashed, monkeypatch):
    sound = hashing.sha256_of

    def changing(path):
        digest = sound(path)
        if path.name == "3.jpg":
            path.write_bytes(b"more")
        return digest

    monkeypatch.setattr(hashing, "sha256_of", changing)
    with pytest.raises(InputError, match="3.jpg changed while it was read"):
        done(root)


def test_a_new_manifest_tells_what_differs_from_the_former(root):
    done(root)
    write_file(root / "val/cat/0.jpg", b"other pixels")
    lines = []
    prepare("imagefolder", root, say=lines.append)
    assert any("1 files differ from the former manifest (val/cat/0.jpg)" in line for line in lines)


def test_a_check_finds_everything_as_it_was(root):
    done(root)
    assert checked(root)["files"]["count"] == 12


def test_a_check_names_what_is_missing_extra_and_changed(root):
    done(root)
    path = root / "train/cat/0.jpg"
    path.write_bytes(path.read_bytes()[::-1])  # of the same size and, below, the same time
    os.utime(path, (OLD, OLD))
    (root / "train/cat/1.jpg").unlink()
    write_file(root / "val/cat/new.jpg")
    text = said(root)
    assert "missing files: 1 (train/cat/1.jpg)" in text
    assert "extra files: 1 (val/cat/new.jpg)" in text
    assert "changed files: 1 (train/cat/0.jpg)" in text


def test_a_check_without_a_manifest_or_with_anothers_says_so(root):
    assert "has no manifest.json" in said(root)
    (root / "manifest.json").write_text('{"name": "something else"}')
    assert "no manifest of version 1" in said(root)
    done(root)
    with pytest.raises(InputError, match="was written for 'imagefolder'"):
        check("imagenet", root)


def test_names_that_are_no_line_of_text_are_told_on_one_line(root):
    write_file(root / "train/cat" / os.fsdecode(b"a\n\xff.jpg"), b"")
    with pytest.raises(InputError) as error:
        done(root)
    assert r"(train/cat/a\n\xff.jpg)" in str(error.value)


def test_a_manifest_covers_its_folder_and_those_below_that_it_counts(root, tmp_path):
    done(root)
    (root / "other").mkdir()
    assert find_manifest(root) == find_manifest(str(root / "train")) == root / "manifest.json"
    assert find_manifest(root / "other") is None  # nothing in it is counted
    (tmp_path / "bare" / "set").mkdir(parents=True)
    (tmp_path / "bare" / "manifest.json").write_text("{}")  # of no counts, so nobody can tell
    assert find_manifest(tmp_path / "bare" / "set") == tmp_path / "bare" / "manifest.json"
    assert find_manifest(tmp_path) is find_manifest("") is find_manifest(None) is None


@pytest.mark.parametrize(
    ("config", "below", "folders"),
    [
        ("configs/cls/knn_vitb.py", "imagenet", ("val",)),
        ("configs/cls/finetune_vitb.py", "imagenet", ("val", "train")),
        ("configs/pretrain/semaim_vitb.py", "imagenet", (None, "train")),
        ("configs/det/mask-rcnn_semaim-vitb_vitdet-100ep_coco.py", "coco", ("val2017",)),
        (
            "configs/seg/upernet_semaim-vitb_160k_ade20k-512x512.py",
            "ade/ADEChallengeData2016",
            ("images/validation", "images/training"),
        ),
    ],
)
def test_the_shipped_configs_find_the_manifest(tmp_path, monkeypatch, config, below, folders):
    monkeypatch.setenv("SEMAIM_DATA", str(tmp_path))
    content = b'{"counts": {}}'
    write_file(tmp_path / below / "manifest.json", content)
    cfg = load_config(config)
    spread_keys(cfg)
    for loader, folder in zip(("test_dataloader", "train_dataloader"), folders, strict=False):
        if folder is not None:
            dataset = cfg[loader]["dataset"]
            record = data_record(dataset.get("dataset", dataset))
            assert record == dict(
                name=Path(below).name,
                folder=folder,
                manifest_sha256=hashlib.sha256(content).hexdigest(),
            )


def test_a_data_set_below_the_manifest_is_recorded_by_its_folder_there(root):
    done(root)
    record = data_record(dict(data_root=str(root / "val"), split="cat"))
    assert record["folder"] == "val/cat" and record["manifest_sha256"] == manifest_of(root)
    assert data_record(dict(data_root="")) == dict(name="", folder="", manifest_sha256=None)


@pytest.fixture
def tool(monkeypatch, capsys):
    spec = spec_from_file_location("prepare_data", TOOL)
    module = module_from_spec(spec)
    spec.loader.exec_module(module)

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["prepare_data.py", *map(str, arguments)])
        module.main()
        return capsys.readouterr().out

    return run


def test_the_tool_prepares_writes_lists_checks_and_compares(root, tool):
    out = tool("imagefolder", root, "--low-shot", "0", "1")
    assert "12 files found" in out and f"wrote {root / 'lowshot-10pct_seed1.txt'}" in out
    assert "all 12 files are as the manifest says" in tool("imagefolder", root, "--check")
    shutil.copy(root / "train/cat/0.jpg", root / "val/cat/0.jpg")
    with pytest.raises(InputError, match="changed files: 1"):
        tool("imagefolder", root, "--check")


def test_the_tool_says_what_it_let_pass(root, tool):
    shutil.rmtree(root / "val")
    assert "recorded in the manifest:\n  - missing folders: 1 (val)" in tool("imagefolder", root)


@pytest.mark.slow
def test_the_command_ends_with_2_and_a_sentence(root):
    write_file(root / "val/cat/0.jpg", b"")
    command = [sys.executable, str(TOOL), "imagefolder", str(root)]
    found = subprocess.run(command, capture_output=True, text=True)
    assert found.returncode == 2 and "error: " in found.stderr and "val/cat/0.jpg" in found.stderr
    assert "Traceback" not in found.stderr
