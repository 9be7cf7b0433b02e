"""The shipped sample data: the same bytes by seed, no leakage, exact ground truth, safe builds.

Uses the fetched packages where they are and a few drawn shapes where not, through one interface.
"""

import hashlib
import json
import shutil
import zlib
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from mmengine.registry import DATASETS, init_default_scope
from PIL import Image, ImageDraw
from pycocotools.coco import COCO

from semaim_mm.data.sample import build_sample_data, sample_data_path
from semaim_mm.data.sample.annotations import MIN_VISIBLE, coco_annotations, label_map
from semaim_mm.data.sample.classes import CLASSES, DENSE_CLASSES, check_disjoint
from semaim_mm.data.sample.emoji import Emoji
from semaim_mm.data.sample.packages import packages_path
from semaim_mm.data.sample.parts import DENSE, Writer
from semaim_mm.data.sample.photos import Photo
from semaim_mm.data.sample.scenes import Scene, compose, draw_scene
from semaim_mm.data.sample.sources import Sources, find_sources
from semaim_mm.errors import InputError
from semaim_mm.runtime.launch import load_config
from semaim_mm.runtime.spread import spread_keys

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
SMALL = {"pretrain": 24, "pretrain_val": 8, "cls_train": 12, "cls_val": 12}
SMALL |= {f"{task}_{split}": 12 for task in ("coco", "ade") for split in ("train", "val")}


def drawn_sources() -> Sources:
    """Eight coloured polygons a class and eight gradients with noise."""

    def emoji():
        found = []
        for number in range(8 * len(CLASSES)):
            image = Image.new("RGBA", (120, 120))
            colour = tuple(np.random.default_rng(number).integers(0, 256, 3).tolist())
            ImageDraw.Draw(image).regular_polygon((60, 60, 50), 3 + number % 6, fill=colour)
            label = CLASSES[number % len(CLASSES)]
            pixels = np.asarray(image.crop(image.getbbox()))
            found.append(Emoji((0x10000 + number,), f"shape {number}", "", "", label, pixels))
        return found

    def photos():
        rng = np.random.default_rng(0)
        noise = rng.integers(0, 256, (8, 120, 160, 3), dtype=np.uint8)
        return [Photo(f"photo{i}", "drawn", Image.fromarray(x)) for i, x in enumerate(noise)]

    return Sources(emoji, photos, {"drawn": "1"}, [])


@pytest.fixture(scope="module")
def sources() -> Sources:
    try:
        found = find_sources(packages_path())
    except InputError:
        return drawn_sources()
    once = {"load_emoji": cache(found.load_emoji), "load_photos": cache(found.load_photos)}
    return replace(found, **once)


@pytest.fixture(scope="module")
def built(sources, tmp_path_factory) -> Path:
    return build_sample_data(tmp_path_factory.mktemp("data") / "sample", 0, SMALL, sources=sources)


def hashes(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def scenes(sources: Sources, manifest: dict, part: str, count: int) -> list[Scene]:
    """The scenes of a part as `draw_scene` gives them, before any file format."""
    split = part.rpartition("_")[2]
    emoji = {e.key: e for e in sources.load_emoji()}
    photos = {p.name: p for p in sources.load_photos()}
    pool = {k: [emoji[key] for key in v] for k, v in manifest["identities"][split].items()}
    chosen = [photos[name] for name in manifest["photos"][split]]
    seeds = [[manifest["seed"], zlib.crc32(part.encode()), i] for i in range(count)]
    return [draw_scene(DENSE, pool, chosen, np.random.default_rng(seed)) for seed in seeds]


def read_manifest(folder: Path) -> dict:
    return json.loads((folder / "manifest.json").read_text(encoding="utf-8"))


def test_the_same_seed_gives_the_same_bytes_and_another_seed_does_not(built, sources, tmp_path):
    again = build_sample_data(tmp_path / "again", 0, SMALL, sources=sources)
    other = build_sample_data(tmp_path / "other", 1, SMALL, sources=sources)
    assert hashes(again) == hashes(built)
    assert not set(hashes(other).values()) & {
        digest for name, digest in hashes(built).items() if name.endswith(".jpg")
    }


def test_a_smaller_build_is_a_prefix_of_a_larger_one(built, sources, tmp_path):
    few = dict.fromkeys(SMALL, 6)
    small = hashes(build_sample_data(tmp_path / "small", 0, few, sources=sources))
    large = hashes(built)
    images = {name: digest for name, digest in small.items() if name.endswith((".jpg", ".png"))}
    assert len(images) > 40
    assert images.items() <= large.items()


def test_the_manifest_counts_and_hashes_every_file(built):
    manifest, found = read_manifest(built), hashes(built)
    listing = (built / "files.sha256").read_text().splitlines()
    del found["manifest.json"]
    assert manifest["files"]["count"] == len(found)
    assert manifest["files"]["listing_sha256"] == found.pop("files.sha256")
    assert listing == [f"{digest}  {name}" for name, digest in sorted(found.items())]
    assert manifest["counts"]["pretrain"] == SMALL["pretrain"]
    assert {manifest["counts"][f"cls/train/{label}"] for label in CLASSES} == {2}
    assert manifest["counts"]["pretrain_val_masks"] == SMALL["pretrain_val"]


def test_train_and_val_share_no_identity_and_no_photograph(built):
    manifest = read_manifest(built)
    check_disjoint(manifest)
    train, val = (manifest["identities"][split] for split in ("train", "val"))
    assert all(train[label] and val[label] for label in CLASSES)
    val["face"].append(train["face"][0])
    with pytest.raises(InputError, match=r"1 identities .* both train and val"):
        check_disjoint(manifest)


def test_each_pixel_belongs_to_the_last_object_at_least_half_opaque_there():
    rng = np.random.default_rng(0)
    cutouts = [rng.integers(0, 256, (40, 50, 4), dtype=np.uint8) for _ in range(3)]
    background = rng.integers(0, 256, (64, 64, 3), dtype=np.uint8)
    # with a window as large as the scene, there is one position only, so the oracle knows it
    cutouts = [np.pad(c, ((i, 24 - i), (i, 14 - i), (0, 0))) for i, c in enumerate(cutouts)]
    scene = compose(background, cutouts, [], rng)
    for y, x in np.ndindex(64, 64):
        alphas = [int(cutout[y, x, 3]) for cutout in cutouts]
        owner = max((i + 1 for i, alpha in enumerate(alphas) if alpha >= 128), default=0)
        pixel = background[y, x].astype(float)
        for cutout, alpha in zip(cutouts, alphas, strict=True):
            pixel += (cutout[y, x, :3] - pixel) * alpha / 255
        assert scene.owner[y, x] == owner
        assert np.abs(scene.image[y, x] - pixel).max() < 1.6  # three roundings of one half


@pytest.mark.parametrize("split", ["train", "val"])
def test_coco_masks_are_the_visible_pixels_and_boxes_their_extent(built, sources, split):
    coco = COCO(str(built / f"coco/annotations/instances_{split}.json"))
    drawn = scenes(sources, read_manifest(built), f"coco_{split}", SMALL[f"coco_{split}"])
    assert len(coco.imgs) == len(drawn)
    seen = 0
    for image_id, scene in enumerate(drawn, start=1):
        info = coco.imgs[image_id]
        stored = np.asarray(Image.open(built / "coco" / split / info["file_name"]), int)
        assert np.abs(stored - scene.image).mean() < 6  # JPEG's loss on noise
        annotations = coco.loadAnns(coco.getAnnIds(image_id))
        visible = [scene.owner == n + 1 for n in range(len(scene.objects))]
        kept = [n for n, mask in enumerate(visible) if mask.sum() >= MIN_VISIBLE]
        assert len(annotations) == len(kept)
        for annotation, n in zip(annotations, kept, strict=True):
            mask = coco.annToMask(annotation).astype(bool)
            rows, columns = np.nonzero(mask)
            x, y, width, height = annotation["bbox"]
            assert np.array_equal(mask, visible[n])
            assert annotation["area"] == mask.sum() and annotation["iscrowd"] == 0
            assert (x, y) == (columns.min(), rows.min())
            assert (x + width - 1, y + height - 1) == (columns.max(), rows.max())
            assert coco.cats[annotation["category_id"]]["name"] == scene.objects[n].label
            seen += 1
    assert seen >= len(drawn)


def test_an_object_that_is_almost_covered_is_not_annotated():
    owner = np.zeros((96, 96), np.uint8)
    owner[:2, : MIN_VISIBLE // 2] = 1  # 24 pixels
    owner[10:15, 10:15] = 2  # 25 pixels
    shape = drawn_sources().load_emoji()[2]
    scene = Scene(np.zeros((96, 96, 3), np.uint8), owner, owner > 9, [shape, shape])
    (annotation,) = coco_annotations(scene, image_id=1, first_id=5)
    assert annotation["bbox"] == [10, 10, 5, 5] and annotation["id"] == 5


def test_label_maps_agree_with_the_owners_and_leave_soft_edges_unlabelled(built, sources):
    drawn = scenes(sources, read_manifest(built), "ade_val", SMALL["ade_val"])
    for i, scene in enumerate(drawn):
        stored = np.asarray(Image.open(built / f"ade/annotations/validation/{i:06d}.png"))
        assert stored.dtype == np.uint8 and np.array_equal(stored, label_map(scene))
        expected = np.ones_like(stored)
        for n, emoji in enumerate(scene.objects, start=1):
            expected[scene.owner == n] = 2 + DENSE_CLASSES.index(emoji.label)
        labelled = stored > 0
        assert np.array_equal(labelled, ~scene.soft)
        assert np.array_equal(stored[labelled], expected[labelled])
        assert 0 < np.mean(~labelled) < 0.25


def test_held_out_pretraining_scenes_come_with_instance_masks(built):
    for path in sorted((built / "pretrain_val").iterdir()):
        mask = np.asarray(Image.open(built / "pretrain_val_masks" / f"{path.stem}.png"))
        assert mask.shape == (64, 64) and 1 <= mask.max() <= 3


def test_nothing_is_rewritten_when_nothing_changed(built, sources):
    before = (built / "manifest.json").stat()
    build_sample_data(built, 0, SMALL, sources=sources)
    assert (built / "manifest.json").stat() == before


@pytest.mark.parametrize("lost", ["manifest.json", "pretrain/000003.jpg"])
def test_a_build_that_lost_a_file_is_made_again(built, sources, tmp_path, lost):
    out = shutil.copytree(built, tmp_path / "sample")
    (out / lost).unlink()
    assert hashes(build_sample_data(out, 0, SMALL, sources=sources)) == hashes(built)


def test_an_interrupted_build_leaves_nothing_that_looks_finished(tmp_path, monkeypatch):
    monkeypatch.setenv("SEMAIM_DATA", str(tmp_path))

    def stop_at_tenth(writer, name, data, write=Writer.write):
        if len(writer.hashes) == 10:
            raise KeyboardInterrupt
        write(writer, name, data)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Writer, "write", stop_at_tenth)
        build_sample_data(tmp_path / "sample", 0, SMALL, sources=drawn_sources())
    with pytest.raises(InputError, match=r"no finished sample data; make it: python tools/make_"):
        sample_data_path()
    build_sample_data(tmp_path / "sample", 0, SMALL, sources=drawn_sources())
    assert sample_data_path() == tmp_path / "sample"


def test_a_folder_of_someone_else_is_never_replaced(tmp_path):
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(InputError, match=r"thesis\.tex.*would be deleted"):
        build_sample_data(tmp_path, 0, SMALL, sources=drawn_sources())
    assert (tmp_path / "thesis.tex").exists()


def test_an_unknown_part_is_named(tmp_path):
    with pytest.raises(InputError, match=r"'cls_test'.*the parts are pretrain"):
        build_sample_data(tmp_path / "x", 0, {"cls_test": 1}, sources=drawn_sources())


def test_mmdet_reads_the_masks(built):
    from mmdet.datasets import CocoDataset

    dataset = CocoDataset(
        ann_file=str(built / "coco/annotations/instances_val.json"),
        data_prefix={"img": str(built / "coco/val")},
        metainfo={"classes": DENSE_CLASSES},
        pipeline=[
            {"type": "mmdet.LoadImageFromFile"},
            {"type": "mmdet.LoadAnnotations", "with_bbox": True, "with_mask": True},
        ],
    )
    coco = COCO(str(built / "coco/annotations/instances_val.json"))
    assert len(dataset) == SMALL["coco_val"]
    for i in range(len(dataset)):
        loaded = dataset[i]
        expected = [coco.annToMask(a) for a in coco.loadAnns(coco.getAnnIds(loaded["img_id"]))]
        assert np.array_equal(loaded["gt_masks"].masks, np.stack(expected))


@pytest.mark.parametrize("leaf", ["det/mask-rcnn_tiny_vitdet.py", "seg/upernet_tiny.py"])
def test_the_scans_of_the_dense_leaves_find_nothing_wrong(built, leaf, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("SEMAIM_DATA", str(built.parent))
    cfg = load_config(str(CONFIGS / leaf))
    spread_keys(cfg)
    init_default_scope(cfg.default_scope)
    for loader in (cfg.train_dataloader, cfg.val_dataloader):
        dataset = DATASETS.build(loader.dataset)
        assert len(dataset) == 12
        assert innermost_built(dataset).passed_over == {}


def innermost_built(dataset):
    """The data set inside its wrappers."""
    while hasattr(dataset, "dataset"):
        dataset = dataset.dataset
    return dataset
