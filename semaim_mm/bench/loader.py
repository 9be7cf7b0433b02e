"""Images a second on one core: the pretraining pipeline beside mmpretrain's stock one.

Both cut 224-px crops from the same generated JPEGs of 500 pixels; the decoding that each begins
with is timed alone too, for it bounds the rest.
"""

from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import cv2
import numpy as np
import torch
from mmengine.config import Config
from mmengine.hub import get_config
from mmengine.registry import DATASETS
from PIL import Image

from semaim_mm.bench.report import Table
from semaim_mm.bench.timing import Spread, interleave, paired_ratio
from semaim_mm.data.keyed import SampleKey
from semaim_mm.runtime.launch import load_config

LEAF = "configs/pretrain/semaim_vitb.py"
STOCK = "mmpretrain::mae/mae_vit-base-p16_8xb512-amp-coslr-300e_in1k.py"
HEIGHT, WIDTH, QUALITY = 375, 500, 90
COLUMNS = ("what", "images/s on one core", "ms an image", "rate of this / stock")


class Sizes(NamedTuple):
    """How many images are written and read in every round."""

    images: int


DEFAULT_SIZES = Sizes(64)


def write_jpegs(folder: Path, count: int) -> None:
    """``count`` JPEGs of 500 x 375 pixels: noise at all scales, about as costly as photographs."""
    random = np.random.default_rng(0)
    for number in range(count):
        pixels = np.zeros((HEIGHT, WIDTH, 3))
        for cells in (4, 16, 64, 256):
            coarse = random.normal(size=(cells * 3 // 4, cells, 3)).astype(np.float32)
            detail = cv2.resize(coarse, (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC)
            pixels += detail * 60 / cells**0.35
        picture = Image.fromarray(np.clip(pixels + 128, 0, 255).astype(np.uint8))
        picture.save(folder / f"{number:05d}.jpg", quality=QUALITY)


def stock_pipeline() -> list[dict]:
    """-> the training pipeline of mmpretrain's MAE config."""
    return get_config(STOCK).train_dataloader.dataset.pipeline


def data_sets(root: Path) -> dict[str, Callable[[int], object]]:
    """-> what gives an image by its number: both pipelines, and their decoding alone.

    Ours is asked by SampleKey, as KeyedSampler does in training: that seeds the draws and writes
    the key into the sample.
    """
    ours: Config = load_config(LEAF).train_dataloader.dataset
    inner = {**ours.dataset, "data_root": str(root), "split": ""}
    stock = dict(type="mmpretrain.CustomDataset", data_prefix=str(root), with_label=False)
    whole = stock_pipeline()
    built = {
        "stock": {**stock, "pipeline": whole},
        "ours": {**ours, "dataset": inner},
        "stock, decoding alone": {**stock, "pipeline": whole[:1]},
        "ours, read and cropped alone": {**inner, "pipeline": inner["pipeline"][:1]},
    }
    gets = {name: DATASETS.build(cfg).__getitem__ for name, cfg in built.items()}
    keyed = gets["ours"]
    return gets | {"ours": lambda number: keyed(SampleKey(0, 0, number))}


def seconds(root: Path, images: int, rounds: int) -> dict[str, list[float]]:
    """Read all ``images`` in every round, in this process -> seconds a round, by pipeline."""
    threads = cv2.getNumThreads(), torch.get_num_threads()
    cv2.setNumThreads(0)  # as in a loader's worker, both
    torch.set_num_threads(1)
    try:
        arms = {
            name: lambda get=get: [get(number) for number in range(images)]
            for name, get in data_sets(root).items()
        }
        return interleave(arms, rounds)
    finally:
        cv2.setNumThreads(threads[0])
        torch.set_num_threads(threads[1])


def measure(sizes: Sizes, rounds: int) -> list[Table]:
    """-> one row for every pipeline, read in this process without workers."""
    with TemporaryDirectory() as folder:
        write_jpegs(Path(folder), sizes.images)
        kilobytes = np.mean([p.stat().st_size for p in Path(folder).iterdir()]) / 1024
        times = seconds(Path(folder), sizes.images, rounds)
    rows = [
        (
            name,
            Spread.of(times[name]).per(sizes.images),
            Spread.of(times[name]).scaled(1000 / sizes.images),
            paired_ratio(times["stock"], times[name]),
        )
        for name in times
    ]
    notes = [
        f"{sizes.images} generated JPEGs of {WIDTH} x {HEIGHT} pixels, {kilobytes:.0f} kB each on "
        f"average, quality {QUALITY}, in the page cache; crops of 224 pixels, packed, not yet "
        "normalised or collated, by one thread. Stock is the pipeline of mmpretrain's MAE config, "
        "which also flips; ours seeds every sample's draws by its key, as training does, and flips "
        "on the device.",
    ]
    return [Table("Loading for pretraining", COLUMNS, rows, notes)]
