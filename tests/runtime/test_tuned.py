"""Tuned results share a protocol, whatever each method chose, and never an untuned one's."""

from __future__ import annotations

import json

import pytest

from semaim_mm.errors import InputError
from semaim_mm.report.result import fingerprint
from semaim_mm.runtime.launch import load_config
from semaim_mm.runtime.protocol import protocol_of, training_of
from semaim_mm.runtime.spread import spread_keys
from semaim_mm.runtime.tuned import read_choice

LEAF = "configs/cls/finetune_tiny.py"
GRID = {"base_lr": [1e-3, 2e-3], "model.backbone.drop_path_rate": [0.0, 0.1]}


def choice_in(folder, **chosen) -> str:
    path = folder / f"choice{len(list(folder.iterdir()))}.json"
    content = dict(grid=GRID, share=0.1, metric="top1", trials=[], chosen=chosen)
    path.write_text(json.dumps(content))
    return str(path)


def fingerprint_of(options: dict) -> str:
    cfg = load_config(LEAF, options)
    return fingerprint(protocol_of(cfg, trained_by=training_of(cfg), selection="last epoch"))


def options(lr: float, drop: float) -> dict:
    return {"base_lr": lr, "model.backbone.drop_path_rate": drop}


def test_what_was_chosen_does_not_part_methods_and_being_tuned_does(tmp_path):
    tuned = [
        fingerprint_of({**options(lr, drop), "tuned": choice_in(tmp_path, lr=lr, drop=drop)})
        for lr, drop in ((1e-3, 0.1), (2e-3, 0.0))
    ]
    untuned = [fingerprint_of(options(lr, drop)) for lr, drop in ((1e-3, 0.1), (2e-3, 0.0))]
    assert tuned[0] == tuned[1]
    assert len({*tuned, *untuned}) == 3


def test_settings_of_the_head_do_not_part_methods_either(tmp_path):
    key = "model.head.loss.label_smooth_val"
    grid = {key: [0.0, 0.2], "param_scheduler.0.start_factor": [0.1, 0.2]}
    found = set()
    for value, factor in ((0.0, 0.2), (0.2, 0.1)):
        path = tmp_path / f"choice{value}.json"
        content = dict(grid=grid, share=0.1, metric="top1", trials=[], chosen={key: value})
        path.write_text(json.dumps(content))
        chosen = {key: value, "param_scheduler.0.start_factor": factor}
        found.add(fingerprint_of({**chosen, "tuned": str(path)}))
        found.add(fingerprint_of(chosen))
    assert len(found) == 3


def test_another_grid_or_share_is_another_protocol(tmp_path):
    path = choice_in(tmp_path)
    one = fingerprint_of({"tuned": path})
    for change in (dict(share=0.2), dict(grid={"base_lr": [1e-3, 4e-3]}), dict(metric="top5")):
        other = tmp_path / "other.json"
        other.write_text(json.dumps(read_choice(path) | change))
        assert fingerprint_of({"tuned": str(other)}) != one


def test_a_held_out_trial_is_another_protocol():
    cfg = load_config(LEAF, {"holdout": 0.1})
    spread_keys(cfg)
    plain = load_config(LEAF)
    assert training_of(cfg)["data"]["part"] == {"share": 0.1, "held_out": False}
    assert "part" not in training_of(plain)["data"]
    assert protocol_of(cfg)["test_data"]["part"] == {"share": 0.1, "held_out": True}


@pytest.mark.parametrize("content", [None, "{", "[]", '{"grid": {}}'])
def test_a_file_that_no_sweep_wrote_is_refused(content, tmp_path):
    path = tmp_path / "choice.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(InputError, match="is no file that a sweep wrote"):
        read_choice(str(path))
