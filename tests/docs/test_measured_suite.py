"""A suite's committed table says what its results say, whole unless it is asked for so far."""

from __future__ import annotations

import json
from dataclasses import replace

import measured_suite
import pytest
from boards import write_knn_and_coco, write_suite

from semaim_mm.analysis.proxy import foretold
from semaim_mm.errors import InputError
from semaim_mm.leaderboard.asked import asked_board, read_asked
from semaim_mm.leaderboard.write.text import NONE, with_margin
from semaim_mm.suite.spec import read_spec
from semaim_mm.suite.stages import Stage
from semaim_mm.suite.state import write_state


@pytest.fixture(scope="module")
def board(tmp_path_factory):
    root = write_suite(tmp_path_factory.mktemp("suite"))
    return asked_board(root, read_asked(root), resamples=50)


def stage(folder, number, kind="test", **options):
    return Stage(f"s{number}", kind, "m", "t", 0, "leaf.py", options, folder / str(number))


def test_a_suite_that_is_not_whole_is_not_published(board):
    with pytest.raises(InputError, match="2 results are absent and 1 excluded"):
        measured_suite.digest(board, [], "run me")


def test_a_suite_under_way_says_how_much_is_there(board, tmp_path, monkeypatch):
    monkeypatch.setattr(measured_suite, "FOLDER", tmp_path)
    found = measured_suite.digest(replace(board, excluded=()), [], "run me", so_far=True)
    (tmp_path / "tiny.json").write_text(measured_suite.told(found))
    here = sum(len(row.runs) for group in board.groups for row in group.rows)
    assert f"**So far**: {here} of {here + 2} results" in measured_suite.suite_table("tiny")
    with pytest.raises(InputError, match="1 excluded"):
        measured_suite.digest(board, [], "run me", so_far=True)


def test_the_tables_are_those_of_the_results(board, tmp_path, monkeypatch):
    whole = replace(board, absent=(), excluded=())
    monkeypatch.setattr(measured_suite, "FOLDER", tmp_path)
    run = stage(tmp_path / "runs", 0)
    write_state(run, status="complete", seconds=7200.0)
    found = measured_suite.digest(whole, [run, stage(tmp_path / "runs", 1)], "run me")
    assert found["process_hours"] == 2 and found["absent"] == 0
    (tmp_path / "tiny.json").write_text(measured_suite.told(found))
    text = measured_suite.suite_table("tiny")
    assert "So far" not in text
    lines = [line for line in text.splitlines() if line.startswith("|")]
    assert [line.split(" | ")[0].strip("| ") for line in lines[2:]] == ["ours", "theirs", "none"]
    for group in board.groups:
        for row in group.rows:
            shown = with_margin(row.cells[group.headline].over_pretraining)
            assert any(shown in line and row.method in line for line in lines)
    compared = measured_suite.comparison_table("tiny")
    assert board.comparisons and all(item.verdict in compared for item in board.comparisons)


def test_the_last_row_is_of_models_that_nobody_trained(board, tmp_path, monkeypatch):
    tasks = dict(knn="configs/cls/knn_tiny.py", ade20k="configs/seg/upernet_tiny.py")
    (tmp_path / "toy.py").write_text(f"methods = dict(m=dict(checkpoint='random'))\n{tasks=}\n")
    spec, asked = read_spec(str(tmp_path / "toy.py")), []

    def measured(config, checkpoint, folder, options):
        asked.append((config, checkpoint))
        return dict(task="knn", metrics=dict(top1=dict(value=12.345678, unit="percent")))

    monkeypatch.setattr(measured_suite, "evaluate", measured)
    found = measured_suite.untrained(spec)
    assert asked == [("configs/seg/upernet_tiny.py", "random")], "k-NN trains nothing"
    assert found == {"knn": {"top1": 12.3457}}
    twice = spec._replace(tasks=dict(a=spec.tasks["ade20k"], b=spec.tasks["ade20k"]))
    assert measured_suite.untrained(twice) == {"a": found["knn"], "b": found["knn"]}
    monkeypatch.setattr(measured_suite, "FOLDER", tmp_path)
    whole = measured_suite.digest(replace(board, absent=(), excluded=()), [], "run me")
    (tmp_path / "tiny.json").write_text(measured_suite.told(whole | dict(untrained=found)))
    last = measured_suite.suite_table("tiny").strip().splitlines()[-1]
    cells = [cell.strip() for cell in last.strip("|").split("|")]
    assert cells[0] == "untrained, head and all"
    shown = [
        "12.35" if (c["task"], c["metric"]) == ("knn", "top1") else NONE for c in whole["columns"]
    ]
    assert cells[3:] == shown and "12.35" in shown


def test_detection_shows_more_than_its_headline(board):
    group = replace(board.groups[0], headline="bbox_mAP", metrics={"bbox_mAP": "", "segm_mAP": ""})
    assert measured_suite.beside(group) == ["segm_mAP"]
    assert measured_suite.beside(board.groups[0]) == []


def test_expected_times_are_medians_of_what_is_as_long(tmp_path):
    stages = [stage(tmp_path, n) for n in range(3)]
    longer = stage(tmp_path, 3, **{"train_cfg.max_epochs": 4})
    for each, seconds in zip([*stages, longer], (1.0, 9.0, 2.4, 50.0), strict=True):
        write_state(each, status="complete", seconds=seconds)
    unfinished = stage(tmp_path, 4, "train")
    write_state(unfinished, status="running")
    found = measured_suite.times([*stages, longer, unfinished], "run me", "a box", "2026-01-01")
    assert found["seconds"] == {"leaf.py test": 2, "leaf.py test train_cfg.max_epochs=4": 50}


def test_times_of_a_suite_replace_its_former_ones_alone(tmp_path, monkeypatch):
    path = tmp_path / "semaim_mm" / "suite" / measured_suite.SHIPPED
    path.parent.mkdir(parents=True)
    monkeypatch.setattr(measured_suite, "ROOT", tmp_path)
    known = [dict(command="a", seconds={"x": 1}), dict(command="b", seconds={"y": 2})]
    monkeypatch.setattr(measured_suite, "shipped", lambda: known)
    measured_suite.write_times(dict(command="a", seconds={"x": 3}))
    assert json.loads(path.read_text()) == [known[1], dict(command="a", seconds={"x": 3})]


def test_times_alone_publish_no_table(board, tmp_path, monkeypatch):
    """Of a suite that is not whole too: what its finished stages took is true without the rest."""
    write_state(stage(tmp_path / "runs", 0), status="complete", seconds=7.0)
    stages, written = [stage(tmp_path / "runs", n) for n in range(2)], []
    monkeypatch.setattr(measured_suite, "FOLDER", tmp_path / "tables")
    monkeypatch.setattr(measured_suite, "plan", lambda spec: stages)
    monkeypatch.setattr(measured_suite, "read_asked", lambda folder: None)
    monkeypatch.setattr(measured_suite, "asked_board", lambda folder, asked: board)
    monkeypatch.setattr(measured_suite, "write_times", written.append)
    words = ["x", "configs/suites/demo.py", "--times", "a box", "--times-only"]
    monkeypatch.setattr("sys.argv", words)
    measured_suite.main()
    (found,) = written
    assert (found["machine"], found["seconds"]) == ("a box", {"leaf.py test": 7})
    assert found["command"] == "python tools/transfer.py configs/suites/demo.py"
    assert not (tmp_path / "tables").exists()


def test_the_proxys_table_is_what_the_analysis_found(tmp_path, monkeypatch):
    monkeypatch.setattr(measured_suite, "FOLDER", tmp_path)
    assert measured_suite.proxy(tmp_path) == [], "no results, no correlation"
    write_knn_and_coco(tmp_path / "runs")
    names, found = foretold(tmp_path / "runs")
    told = dict(proxy=measured_suite.proxy(tmp_path / "runs"))
    (tmp_path / "tiny.json").write_text(json.dumps(told))
    lines = measured_suite.proxy_table("tiny").splitlines()[2:]
    assert len(lines) == len(names) == 2
    rho = found["knn -> coco"]
    span = f"{rho.low:+.2f} to {rho.high:+.2f}"
    assert lines[1].startswith(f"| knn | coco | 5: m0, m1, m2, m3, m4 | {rho.value:+.2f} | {span}")
