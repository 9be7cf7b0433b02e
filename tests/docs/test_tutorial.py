"""The tutorial from its first command to its last, on images made here and with few updates."""

from __future__ import annotations

import doctest
import re
import shutil
from pathlib import Path

import pytest
from conftest import write_images
from dense_data import write_ade, write_coco
from doc_blocks import ROOT
from doc_fences import commands, fences
from doc_tools import run
from PIL import Image

CLASSES = ("animal", "food", "vehicle", "plant", "tool", "sign")
# the images are made by write_sample, since the real ones need packages from a registry
INSTEAD = {"tools/make_sample_data.py"}
STEPS = 2  # of a detector and a segmenter


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder like the repository's root, with sample data of its layout."""
    shutil.copytree(ROOT / "configs", tmp_path / "configs")
    (tmp_path / "tools").symlink_to(ROOT / "tools")
    write_sample(tmp_path / "data" / "sample")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SEMAIM_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path


def write_sample(root: Path) -> None:
    """The layout of the shipped images: 32 for pretraining, 210 objects, four scenes each."""
    for name, count in (("pretrain", 32), ("pretrain_val", 4)):
        as_jpegs(root / name, count, 64, seed=len(name))
    for seed, name in enumerate(CLASSES):
        write_images(root / "cls" / "train" / name, 35, size=64, seed=seed)
        write_images(root / "cls" / "val" / name, 2, size=64, seed=seed + 10)
    write_coco(root / "coco", CLASSES[:3], count=4)
    write_ade(root / "ade", classes=4, count=4)


def as_jpegs(folder: Path, count: int, size: int, seed: int) -> None:
    for number, path in enumerate(write_images(folder, count, size, seed)):
        Image.open(path).save(folder / f"{number:06d}.jpg")
        path.unlink()


def shortened(tool: str, words: list[str]) -> list[str]:
    """A command -> the same without loader processes, and with few updates where it counts them."""
    loaders = ["train", "val"] if tool == "tools/train.py" else ["test"]
    options = [f"{name}_dataloader.num_workers=0" for name in loaders]
    leaf = words[0]
    if tool == "tools/test.py" and ("knn" in leaf or "probe" in leaf):
        options.append("test_cfg.bank_dataloader.num_workers=0")
        options += ["test_evaluator.epochs=2"] if "probe" in leaf else []
    if tool == "tools/train.py" and ("/det/" in leaf or "/seg/" in leaf):
        options += [f"train_cfg.max_iters={STEPS}", f"train_cfg.val_interval={STEPS}"]
        options += ["total_batch=2", "train_dataloader.batch_size=2", "param_scheduler.0.end=1"]
        options += [f"default_hooks.checkpoint.interval={STEPS}", "param_scheduler.1.begin=0"]
        options += ["param_scheduler.1.milestones=[1]"] if "/det/" in leaf else []
    if tool in ("tools/train.py", "tools/test.py"):
        given = "--cfg-options" in words
        return [*words, *([] if given else ["--cfg-options"]), *options]
    return words


def rename_last(wanted: list[str]) -> None:
    """Give the checkpoint of a shortened training the name that the next command has."""
    for name in wanted:
        path = Path(name)
        short = path.with_name(f"iter_{STEPS}.pth")
        if not path.exists() and short.exists():
            shutil.copy(short, path)


@pytest.mark.slow
def test_the_tutorial_runs_from_its_first_command_to_its_last(place):
    parser, names = doctest.DocTestParser(), {}
    runner = doctest.DocTestRunner(verbose=False)
    for fence in fences(ROOT / "docs" / "tutorial.md"):
        if fence.language == "pycon":
            found = parser.get_doctest(fence.text, names, fence.place, fence.page, fence.line)
            lines: list[str] = []
            result = runner.run(found, out=lines.append, clear_globs=False)
            assert result.failed == 0, "".join(lines)
            names = found.globs
        for command in commands(fence) if fence.language == "bash" else ():
            if command.program in INSTEAD:
                continue
            rename_last([w for w in command.words if re.search(r"iter_\d+\.pth$", w)])
            assert run(command.program, shortened(command.program, command.words)) == 0
    assert (place / "work_dirs/pretrain/semaim_tiny/order_figures/000000.png").is_file()
    page = (place / "work_dirs/leaderboard/index.html").read_text()
    for task in ("knn", "finetune", "coco", "ade20k"):
        assert task in page
