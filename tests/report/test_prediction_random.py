"""What CONFIG random draws is the model that CONFIG random scores."""

from __future__ import annotations

import pytest
import torch
from dense_data import write_ade, write_coco
from mmengine.runner import Runner

from semaim_mm.report.prediction_data import load_predictor
from semaim_mm.runtime.evaluate import evaluate

WRITE = dict(
    coco=lambda root: write_coco(root, ["animal", "food", "vehicle"]),
    ade=lambda root: write_ade(root, classes=4),
)


@pytest.mark.parametrize(
    ("leaf", "kind"),
    [
        pytest.param("configs/det/mask-rcnn_tiny_vitdet.py", "coco", marks=pytest.mark.slow),
        ("configs/seg/upernet_tiny-ms.py", "ade"),
    ],
)
def test_random_weights_are_those_that_an_evaluation_scores(leaf, kind, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    WRITE[kind](tmp_path / kind)
    options = {"data_root": str(tmp_path / kind), "test_dataloader.num_workers": 0}
    scored = {}

    def stop(runner):
        scored.update(runner.model.state_dict())
        raise KeyboardInterrupt

    monkeypatch.setattr(Runner, "test", stop)
    with pytest.raises(KeyboardInterrupt):
        evaluate(leaf, "random", str(tmp_path / "run"), options)
    shown = load_predictor(leaf, "random", options).model.state_dict()
    assert len(shown) > 50 and shown.keys() == scored.keys()
    assert not [name for name in shown if not torch.equal(shown[name], scored[name])]
