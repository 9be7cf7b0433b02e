"""What the page says of the measured analysis is what its file says, and the file is small."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import analysis_block
import measured_analysis
import pytest
import torch
from analysis_block import COVERED_PARTS, FILE, ORDERS, SHARE_PARTS, TABLES, block, differences
from conftest import TINY, build_tiny
from measured_analysis import IMAGES, brief, kept
from PIL import Image
from scipy import stats
from square_scenes import write_squares

from semaim_mm.analysis.run import analyze
from semaim_mm.runtime.launch import load_config

ALWAYS = {"objects", "several", "loss", "attention", "neighbours", "colours"}
NEWER = ("precision", "generation")  # what only newer files have, each with its figure
RAW = dict(order="raster", target_generator=dict(blur_kernel=None, normalize=False))


def interval(value: float, low: float | None = 0.1, high: float | None = 0.3) -> dict:
    return dict(over="images", value=value, low=low, high=high, sd=0.1, n=4, level=0.95, method="t")


def test_intervals_are_kept_as_value_low_high_and_number():
    found = brief(dict(a=interval(0.123456), b=dict(c=interval(0.5, None, None)), n=3))
    assert found == dict(a=[0.1235, 0.1, 0.3, 4], b=dict(c=[0.5, None, None, 4]), n=3)


def test_of_the_coverages_only_the_last_checkpoints_are_kept():
    parts = dict.fromkeys((*SHARE_PARTS, "1.0"), 1)
    orders = dict.fromkeys((*ORDERS, "snake"), parts)
    found = kept(
        dict(
            share=dict(epoch_0=orders, epoch_1=orders),
            covered=dict(epoch_0={"1": {}}, epoch_1={"3+": orders}),
            tau={"epoch_0 to epoch_1": dict.fromkeys((*ORDERS, "snake"), 0.5)},
            distance={},
            paired=dict(epoch_0={}, epoch_1={"a minus b": parts}),
            covered_paired=dict(epoch_0={}, epoch_1={"3+": {"c minus d": parts}}),
        )
    )
    shown = dict.fromkeys(SHARE_PARTS, 1)
    assert list(found["covered"]) == ["3+"] and found["share"]["epoch_0"]["raster"] == shown
    assert found["covered"]["3+"]["raster"] == dict.fromkeys(COVERED_PARTS, 1)
    assert found["paired"] == {"a minus b": shown}
    assert found["covered_paired"] == {"3+": {"c minus d": shown}}
    assert "snake" not in found["tau"]["epoch_0 to epoch_1"] | found["share"]["epoch_1"]


@pytest.mark.parametrize("what", ["training", "orders", "several", "about"])
def test_a_table_has_a_line_of_every_row_of_the_file(what):
    found, lines = json.loads(FILE.read_text()), block(what).splitlines()
    rows = dict(training=found["epochs"] + 3, orders=9, several=5, about=1)
    assert len(lines) == rows[what]
    if what == "training":
        value, low, high, _ = found["objects"]["share"]["epoch_2"]["semantic"]["0.1"]
        assert f"| {100 * value:.1f} ({100 * low:.1f} to {100 * high:.1f}) |" in lines[4]


def test_figures_of_the_page_are_those_of_its_file_and_small():
    found = json.loads(FILE.read_text())
    sizes = {path.stem: path.stat().st_size for path in IMAGES.glob("*.png")}
    assert set(sizes) == ALWAYS | {name for name in NEWER if name in found}
    assert sum(sizes.values()) < 400_000


def test_differences_are_told_with_their_signs_and_over_seeds(tmp_path, monkeypatch):
    def seed(value):
        parts = {part: [value, value - 0.01, value + 0.02, 9] for part in SHARE_PARTS}
        pairs = {n: {"multi_center minus semantic": parts} for n in ("1", "3+")}
        return dict(paired={"semantic minus by chance": parts}, covered_paired=pairs)

    values = (-0.1, 0.02, 0.05)
    found = dict(objects=seed(-0.1), seeds={str(n): seed(value) for n, value in enumerate(values)})
    file = tmp_path / "analysis.json"
    file.write_text(json.dumps(found))
    monkeypatch.setattr(analysis_block, "FILE", file)
    (line,) = block("paired").splitlines()[2:]
    assert line == f"| semantic minus by chance |{' -10.0 (-11.0 to -8.0) |' * len(SHARE_PARTS)}"
    lines = block("covered_paired").splitlines()
    assert [line.split(" | ")[0] for line in lines[2:]] == [
        "| multi\\_center minus semantic, 1 object (9)",
        "| multi\\_center minus semantic, 3+ objects (9)",
    ]
    lines = block("seeds").splitlines()
    assert len(lines) == 2 + len(differences(seed(0))) == 2 + 4 + 2 * 2
    low, high = stats.t.interval(0.95, 2, loc=-0.01, scale=stats.sem(values))
    assert lines[2] == (
        "| semantic minus by chance, first 10% on an object | -10.0 | +2.0 | +5.0 | "
        f"-1.0 ({100 * low:+.1f} to {100 * high:+.1f}) |"
    )


@pytest.mark.parametrize("name", [measured_analysis.LEAF, measured_analysis.RAW_LEAF])
def test_leaves_take_what_the_measurement_sets(name, tmp_path):
    options = {"train_cfg.max_epochs": 5, "randomness.seed": 2, **measured_analysis.SHORTER}
    cfg = load_config(measured_analysis.ROOT / name, options, str(tmp_path))
    assert cfg.randomness.seed == 2 and cfg.train_cfg.max_epochs == 5
    assert cfg.train_dataloader.dataset.dataset.indices == measured_analysis.PICTURES


@pytest.mark.slow
def test_a_new_measurement_has_every_block_and_its_figures(tmp_path, monkeypatch):
    asked, changes = [], {"tiny.py": {}, "raw.py": RAW}
    for name, change in changes.items():
        model = dict(TINY, type="SemAIM", order=change.get("order", "semantic"))
        model["target_generator"] = TINY["target_generator"] | change.get("target_generator", {})
        model["data_preprocessor"] = dict(
            type="SelfSupDataPreprocessor", mean=[120.0] * 3, std=[60.0] * 3, to_rgb=True
        )
        (tmp_path / name).write_text(f"model = {model!r}\n")

    def no_training(folder, leaf, epochs, seed, options):
        asked.append((folder.name, Path(leaf).name, seed, options))
        folder.mkdir(parents=True)
        paths = [folder / f"epoch_{number}.pth" for number in range(epochs + 1)]
        for number, path in enumerate(paths):
            model = build_tiny(10 * seed + number, **changes[Path(leaf).name])
            torch.save(dict(state_dict=model.state_dict()), path)
        return paths

    short = dict(EPOCHS=1, LEAF=str(tmp_path / "tiny.py"), RAW_LEAF=str(tmp_path / "raw.py"))
    short |= dict(FOLDER=tmp_path / "runs", IMAGES=tmp_path / "images", train=no_training)
    short |= dict(FILE=tmp_path / "new.json", analyze=partial(analyze, limit=4))
    short["analyze"].keywords["annotations"] = write_squares(tmp_path)
    for name, value in short.items():
        monkeypatch.setattr(measured_analysis, name, value)
    monkeypatch.setattr(analysis_block, "FILE", tmp_path / "new.json")
    measured_analysis.main([])

    assert asked == [
        *((f"seed{n}", "tiny.py", n, measured_analysis.SHORTER) for n in measured_analysis.SEEDS),
        ("raw-pixels", "raw.py", 0, {}),
    ]
    figures = {path.stem: Image.open(path).size for path in (tmp_path / "images").glob("*.png")}
    assert set(figures) == ALWAYS | set(NEWER)
    told = {name: block(name) for name in TABLES}
    assert all(text.count("\n") > 2 for name, text in told.items() if name != "about")
    assert "seeds 0, 1, 2" in told["about"] and "minutes in all" in told["about"]
    for name in NEWER:
        assert f"(images/analysis/{name}.png)" in told[name]
    assert "first 75% on an object, %" in told["orders"]
    found = json.loads((tmp_path / "new.json").read_text())
    # seeds are trainings of their own, and the first is that of the tables
    paired = [kept["paired"]["semantic minus by chance"] for kept in found["seeds"].values()]
    assert found["objects"]["paired"]["semantic minus by chance"] == paired[0] != paired[1]
    part, errors = next(iter(found["generation"]["errors"].items()))
    assert f"| {float(part):.0%} | {errors['completed'][0]:.3f} (" in told["generation"]

    # completed pictures can be measured again by themselves, and say so
    asked.clear()
    monkeypatch.setattr(measured_analysis, "FOLDER", tmp_path / "again")
    measured_analysis.main(["--generation"])
    assert asked == [("raw-pixels", "raw.py", 0, {})]
    again = json.loads((tmp_path / "new.json").read_text())
    assert again.pop("generation")["errors"] == found.pop("generation")["errors"]
    assert again == found
    assert "measured_analysis.py --generation`" in block("generation")
