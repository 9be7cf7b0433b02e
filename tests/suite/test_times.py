"""What a plan expects: this suite's own times first, then the shipped ones, else it says so."""

from __future__ import annotations

from io import StringIO
from pathlib import Path

from machine import spec_in
from rich.console import Console

from semaim_mm.suite import times
from semaim_mm.suite.stages import plan
from semaim_mm.suite.state import key_of, write_state
from semaim_mm.suite.times import Expected, expectations, machines, shipped
from semaim_mm.suite.view import plan_table


def test_times_of_this_suite_count_before_the_shipped_ones(tmp_path, monkeypatch):
    stages = plan(spec_in(tmp_path))
    record = dict(seconds={"configs/cls/knn_tiny.py test": 20, "configs/x.py test": 5})
    monkeypatch.setattr(times, "shipped", lambda: [record, dict(seconds={})])
    assert expectations(stages)["semantic/seed0/knn/test"] == Expected(20, True)
    assert "semantic/seed0/pretrain" not in expectations(stages)
    first = next(stage for stage in stages if stage.name == "random/seed0/knn/test")
    write_state(first, status="complete", key=key_of(first), seconds=7.0)
    assert expectations(stages)["semantic/seed1/knn/test"] == Expected(7.0, False)


def test_a_longer_training_is_expected_to_take_what_only_its_like_took(tmp_path, monkeypatch):
    monkeypatch.setattr(times, "shipped", lambda: [])
    stages = plan(spec_in(tmp_path))
    stages[1:] = [
        stage._replace(options={**stage.options, "train_cfg.max_epochs": 4}) for stage in stages[1:]
    ]
    write_state(stages[0], status="complete", seconds=7.0)
    assert set(expectations(stages)) == {"semantic/seed0/pretrain"}
    every = {f"{stage.config} {stage.kind}": 5 for stage in stages}
    monkeypatch.setattr(times, "shipped", lambda: [dict(seconds=every)])
    assert set(expectations(stages)) == {"semantic/seed0/pretrain"}


def test_of_stages_alike_the_same_one_of_another_seed_counts_most(tmp_path, monkeypatch):
    monkeypatch.setattr(times, "shipped", lambda: [])
    stages = [s for s in plan(spec_in(tmp_path)) if s.kind == "pretrain"]
    assert [stage.seed for stage in stages] == [0, 1]
    # three cells of a grid, one of them wider, by two seeds
    cells = [
        stage._replace(
            name=f"{option}/{stage.seed}",
            folder=tmp_path / option / str(stage.seed),
            options=stage.options | {option: 1},
        )
        for stage in stages
        for option in ("model.order", "model.loss", "model.backbone.arch.embed_dims")
    ]
    for cell, seconds in zip(cells[:2], (10.0, 30.0), strict=True):
        write_state(cell, status="complete", seconds=seconds)
    found = {name: expected.seconds for name, expected in expectations([*stages, *cells]).items()}
    assert (found["model.order/1"], found["model.loss/1"]) == (10, 30)
    assert found["semantic/seed0/pretrain"] == 20
    assert not any("embed_dims" in name for name in found)


def test_a_task_of_a_method_is_expected_to_take_what_that_methods_took(tmp_path, monkeypatch):
    monkeypatch.setattr(times, "shipped", lambda: [])
    stages = plan(spec_in(tmp_path))
    for name, seconds in (("semantic", 10.0), ("random", 500.0)):
        found = next(stage for stage in stages if stage.name == f"{name}/seed0/knn/test")
        write_state(found, status="complete", seconds=seconds)
    found = {name: expected.seconds for name, expected in expectations(stages).items()}
    assert found["semantic/seed1/knn/test"] == 10 and found["random/seed1/knn/test"] == 500


def test_the_plan_names_what_it_does_not_know_and_where_times_come_from(tmp_path, monkeypatch):
    known = [dict(shipped()[0], seconds={"configs/cls/knn_tiny.py test": 20})]
    monkeypatch.setattr(times, "shipped", lambda: known)
    console = Console(width=200, record=True, file=StringIO())
    stages = plan(spec_in(tmp_path))
    console.print(plan_table(stages))
    text = console.export_text()
    unknown = len(stages) - len(expectations(stages))
    assert "not known" in text and f" and {unknown} stage(s) of unknown" in " ".join(text.split())
    assert "one after another: at least " in text
    assert f"* measured on {machines()}" in " ".join(text.split())
    assert known[0]["machine"] in machines()


def test_shipped_times_are_of_leaves_that_exist():
    for name, seconds in (item for found in shipped() for item in found["seconds"].items()):
        leaf, kind, *_ = name.split()
        assert Path(leaf).is_file() and kind in ("pretrain", "train", "test") and seconds > 0
