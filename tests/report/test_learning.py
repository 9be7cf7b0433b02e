"""The check that pretraining teaches: its numbers are those that its own runs wrote."""

import importlib.util
import json
import statistics
import sys
from pathlib import Path

import pytest
from conftest import write_images

from semaim_mm.interop.checkpoint_file import sha256_of
from semaim_mm.report.learning import ROWS, cells, markdown, verdicts
from semaim_mm.report.result import read_result

TOOL = Path(__file__).resolve().parents[2] / "tools/learning_check.py"
CONFIGS = {"k-NN": "knn_tiny", "linear": "probe-last_tiny"}  # of a task
SEEDS = 2


@pytest.fixture
def sample(tmp_path, monkeypatch):
    """Noise where the shipped sample lies: two updates of a pretraining, 3 classes of 70 and 8."""
    root = tmp_path / "data/sample"
    write_images(root / "pretrain", 32, size=64)
    write_images(root / "pretrain_val", 8, size=64, seed=1)
    for number in range(3):
        write_images(root / f"cls/train/{number}", 70, size=64, seed=10 + number)
        write_images(root / f"cls/val/{number}", 8, size=64, seed=20 + number)
    monkeypatch.setenv("SEMAIM_DATA", str(tmp_path / "data"))


def run(out: Path, monkeypatch) -> dict:
    """What tools/learning_check.py writes; it exits with 1 where nothing was learnt."""
    spec = importlib.util.spec_from_file_location("learning_check", TOOL)
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    monkeypatch.setattr(sys, "argv", [str(TOOL), "--seeds", str(SEEDS), "--out", str(out)])
    code = tool.main()
    found = json.loads((out / "learning_check.json").read_text())
    assert code == any("NOT" in line for line in verdicts(found))
    return found


@pytest.mark.slow
def test_the_table_holds_what_the_runs_of_its_rows_and_seeds_wrote(tmp_path, sample, monkeypatch):
    out = tmp_path / "out"
    found = run(out, monkeypatch)
    shown = set()
    for row in ROWS:
        name = row.replace(" ", "-").lower()
        for task, config in CONFIGS.items():
            # no seed changes the pixels
            seeds = range(1 if row == "raw pixels" else SEEDS)
            results = [read_result(out / f"seed{n}" / name / config / "result.json") for n in seeds]
            values = [result["metrics"]["top1"]["value"] for result in results]
            assert found["top1"][row][task] == values
            shown |= set(values)
            for seed, result in enumerate(results):
                assert (result["seed"], result["method"]) == (seed, name)
                assert (
                    result["task"] == dict(zip(CONFIGS, ("knn", "linear probe"), strict=True))[task]
                )
                assert (result["arch"] == "RawPixels") == (row == "raw pixels")
                trained = out / f"seed{seed}" / name / "epoch_1.pth"
                stated = (result["checkpoint"] or {}).get("sha256")
                assert stated == (sha256_of(trained) if row == "SemAIM" else None)
    assert len(shown) > 3, "equal numbers would hide that two were exchanged"
    assert len(list(out.rglob("result.json"))) == 2 * SEEDS * 2 + 2

    for seed in range(SEEDS):
        (log,) = (out / f"seed{seed}/semaim").glob("*/vis_data/scalars.json")
        lines = [json.loads(line) for line in log.read_text().splitlines()]
        (heldout,) = (line for line in lines if "mean_predictor_loss" in line)
        assert found["loss"][seed] == heldout["loss"]
        assert found["mean_predictor_loss"] == heldout["mean_predictor_loss"]
    assert len(found["loss"]) == SEEDS

    ours = found["top1"]["SemAIM"]["k-NN"]
    told = f"{statistics.mean(ours):.1f} ({min(ours):.1f} to {max(ours):.1f})"
    assert cells(found["top1"]["SemAIM"])[0] == told
    assert f"| SemAIM | {told} |" in markdown(found)
    margin = statistics.mean(ours) - statistics.mean(found["top1"]["random init"]["k-NN"])
    assert verdicts(found)[1].startswith(f"k-NN: SemAIM is {margin:+.1f} points from random init")
