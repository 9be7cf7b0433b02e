"""Data of one's own stands under its own task's name in results and tables."""

from __future__ import annotations

import pytest
from dense_data import write_ade, write_coco

from semaim_mm.leaderboard.table import leaderboard
from semaim_mm.runtime.evaluate import evaluate

DET, SEG = "configs/det/mask-rcnn_tiny_vitdet.py", "configs/seg/upernet_tiny.py"


@pytest.mark.slow
@pytest.mark.parametrize(("leaf", "public"), [(DET, "coco"), (SEG, "ade20k")])
def test_a_task_of_ones_own_is_a_group_of_its_own(leaf, public, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    if leaf == DET:
        root = write_coco(tmp_path / "data", ["animal", "food", "vehicle"])
    else:
        root = write_ade(tmp_path / "data", classes=4)
    given = {"data_root": str(root), "test_dataloader.num_workers": 0}
    given |= {"model.backbone.init_cfg": None}
    found = {}
    for task in (public, "hydrants"):
        more = {} if task == public else {"task": task}
        found[task] = evaluate(leaf, "random", str(tmp_path / "runs" / task), given | more)
        assert found[task]["task"] == found[task]["protocol"]["task"] == task
    assert found[public]["fingerprint"] != found["hydrants"]["fingerprint"]
    assert found[public]["metrics"] == found["hydrants"]["metrics"]
    board = leaderboard(tmp_path / "runs", resamples=0)
    assert sorted(group.task for group in board.groups) == sorted(found)
