"""A sweep for real: trials on held-out images, the best settings' run, the table of both."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import write_images

from semaim_mm.leaderboard.asked import asked_board, read_asked
from semaim_mm.report.result import read_result

ROOT = Path(__file__).resolve().parents[2]
SPEC = """
methods = dict(one=dict(checkpoint="random"), other=dict(checkpoint="random"))
tasks = dict(
    finetune=dict(config="configs/cls/finetune_tiny.py", options={"train_cfg.max_epochs": 2})
)
sweep = dict(finetune={"base_lr": [1e-4, 1e-2]})
holdout = 0.3
"""


@pytest.mark.slow
def test_a_swept_suite_from_trials_to_table(tmp_path, monkeypatch):
    for split, count in (("train", 20), ("val", 4)):
        for label in range(6):
            folder = tmp_path / "data" / "sample" / "cls" / split / f"class{label}"
            for path in write_images(folder, count, seed=label):
                path.rename(path.with_name(f"class{label}-{path.name}"))
    monkeypatch.setenv("SEMAIM_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    spec = tmp_path / "toy.py"
    spec.write_text(f'{SPEC}out = "{tmp_path}/runs"\n')
    command = [sys.executable, "tools/transfer.py", str(spec), "--workers", "2"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-2000:]
    folder = tmp_path / "runs" / "toy"
    results = [
        read_result(folder / method / "seed0/finetune/test/result.json")
        for method in ("one", "other")
    ]
    assert results[0]["fingerprint"] == results[1]["fingerprint"]
    tuned = results[0]["protocol"]["training"]["tuned"]
    assert tuned == dict(grid={"base_lr": [1e-4, 1e-2]}, share=0.3, metric="top1")
    assert results[0]["n_evaluated"] == 24
    trials = [
        read_result(folder / f"one/seed0/finetune/trial{number}/test/result.json")
        for number in (0, 1)
    ]
    assert 0 < trials[0]["n_evaluated"] < 80 and trials[0]["n_evaluated"] != 24
    chosen = results[0]["run"]["training"]["tuned"]
    scores = [trial["metrics"]["top1"]["value"] for trial in trials]
    assert [trial["value"] for trial in chosen["trials"]] == scores
    best = scores.index(max(scores))
    assert chosen["chosen"] == {"base_lr": [1e-4, 1e-2][best]}
    asked = read_asked(folder)
    board = asked_board(folder, asked, resamples=100)
    (group,) = board.groups
    assert len(group.rows) == 2 and len(board.trials) == 4 and board.absent == ()
    assert {json.dumps(trial.settings) for trial in board.trials} == {
        '{"base_lr": 0.0001}',
        '{"base_lr": 0.01}',
    }
    again = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert again.stdout.count("finished before") == 12, again.stdout[-2000:]
