"""Methods x tasks, and what a pretraining cost: what every format is written from."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace

import pytest
from boards import write_suite
from result_files import finetuned, weights, write, write_two_sets
from rich.console import Console

from semaim_mm.leaderboard.asked import asked_board, read_asked
from semaim_mm.leaderboard.model import Absent
from semaim_mm.leaderboard.table import leaderboard
from semaim_mm.leaderboard.write.console import overview_table
from semaim_mm.leaderboard.write.cost import cost_of
from semaim_mm.leaderboard.write.csv_file import csv_text
from semaim_mm.leaderboard.write.markdown import markdown
from semaim_mm.leaderboard.write.overview import methods_of, overview, title_of
from semaim_mm.leaderboard.write.page import page
from semaim_mm.leaderboard.write.rows import labels, marks, shown_metrics
from semaim_mm.leaderboard.write.tex import tex


@pytest.fixture(scope="module")
def board(tmp_path_factory):
    root = write_suite(tmp_path_factory.mktemp("suite"))
    return asked_board(root, read_asked(root), resamples=0)


def row_of(root):
    return leaderboard(root, resamples=0).groups[0].rows[0]


def test_methods_and_tasks_stand_in_the_order_that_was_asked_for(board):
    found = overview(board)
    assert [line.method for line in found.lines] == ["ours", "theirs", "none"]
    assert [column.task for column in found.columns] == ["knn", "finetune"]
    assert methods_of(board) == ["ours", "theirs", "none"]


def test_an_entry_is_the_headline_with_its_margin_and_what_it_lacks(board):
    knn, finetune = overview(board).lines[2].entries
    cell = knn.rows[0].cells["top1"].over_pretraining
    assert knn.told() == f"{cell.value:.2f} ± {(cell.high - cell.low) / 2:.2f}"
    assert finetune.told().endswith(" (n = 1); 1 seed failed; 1 seed not run")
    assert finetune.lacking == {"failed": 1, "not run": 1}


def test_protocols_of_one_task_have_columns_of_their_own(tmp_path):
    write(tmp_path, "a")
    write(tmp_path, "a", folder="b", protocol=dict(task="knn", pooling="cls"))
    write(tmp_path, "a", folder="c", data=dict(name="other", manifest_sha256="e" * 64))
    board = leaderboard(tmp_path, resamples=0)
    found = overview(board)
    assert len(found.columns) == 3 and len({column.about for column in found.columns}) == 3
    assert [len(entry.rows) for entry in found.lines[0].entries] == [1, 1, 1]
    assert len({title_of(group, board) for group in board.groups}) >= 2


def test_checkpoints_chosen_differently_share_a_cell_and_say_so(tmp_path):
    write(tmp_path, score=50.0)
    write(tmp_path, score=60.0, folder="b", selection="best", checkpoint=weights("b", 0))
    (line,) = overview(leaderboard(tmp_path, resamples=0)).lines
    told = line.entries[0].told()
    assert "50.00 (n = 1) [last epoch]" in told and "60.00 (n = 1) [best]" in told


def test_what_is_absent_stands_by_the_methods_own_protocol_or_in_a_column_of_its_own(tmp_path):
    write(tmp_path, "a", protocol=dict(task="knn", pooling="cls"))
    for method in ("b", "c"):
        write(tmp_path, method)
    absent = (Absent("a", "knn", 1), Absent("d", "knn", 0), Absent("d", "coco", 0))
    board = replace(leaderboard(tmp_path, resamples=0), absent=absent)
    found = overview(board)
    lines = {line.method: line.entries for line in found.lines}
    assert [column.task for column in found.columns].count("coco") == 1
    for entry in lines["a"]:
        assert bool(entry.absent) == bool(entry.rows)
    assert sum(bool(entry.absent) for entry in lines["d"]) == 2
    assert next(line for line in found.lines if line.method == "d").cost is None


def test_an_absent_result_of_a_method_with_two_sizes_is_counted_once(tmp_path):
    write(tmp_path, "a")
    write(tmp_path, "a", folder="large", arch="ViT-large/16")
    board = replace(leaderboard(tmp_path, resamples=0), absent=(Absent("a", "knn", 1),))
    entries = [entry for line in overview(board).lines for entry in line.entries]
    assert sum(len(entry.absent) for entry in entries) == 1


def test_a_cost_is_the_mean_over_pretrainings_however_often_each_was_finetuned(tmp_path):
    for pretraining, fitting, hours in ((0, 0, 1.0), (0, 1, 1.0), (0, 2, 1.0), (1, 0, 3.0)):
        changes = finetuned("m", pretraining, fitting)
        budget = changes["checkpoint"]["started_from"]["origin"]["budget"]
        budget |= dict(flops=5e12, device_hours=hours)
        write(tmp_path, **changes)
    cost = cost_of(row_of(tmp_path))
    assert cost.values() == (5, 40, 5e12, 2.0)
    assert cost.told() == ("5", "40", "5 T", "2")


def test_a_cost_that_one_pretraining_did_not_write_down_is_not_known(tmp_path):
    write(tmp_path)
    without = weights("b", 1)
    del without["origin"]["budget"]["images"]
    write(tmp_path, seed=1, checkpoint=without)
    assert cost_of(row_of(tmp_path)).values() == (5, None, None, None)


@pytest.mark.parametrize("value", ["<b>", True, -1.0, float("inf"), [1]])
def test_a_cost_that_is_no_number_is_not_known(tmp_path, value):
    record = weights("a", 0)
    record["origin"]["budget"]["flops"] = value
    write(tmp_path, checkpoint=record)
    assert cost_of(row_of(tmp_path)).flops is None


def test_no_pretraining_costs_nothing_and_says_none(tmp_path):
    write(tmp_path, checkpoint=None)
    cost = cost_of(row_of(tmp_path))
    assert cost.values() == (0, 0, 0, 0) and cost.told()[0] == "none"


def test_marks_begin_with_what_keeps_a_row_from_being_ranked(tmp_path):
    write(tmp_path, score=90.0)
    write(tmp_path, score=90.0, folder="again", checkpoint=weights("another", 0))
    assert marks(row_of(tmp_path))[0].startswith("not ranked: 2 different checkpoints")
    write(tmp_path / "one")
    assert marks(row_of(tmp_path / "one")) == ["n = 1: no spread over pretraining seeds is known"]


def test_a_chart_tells_rows_of_one_method_apart(tmp_path):
    write(tmp_path, "a")
    write(tmp_path, "a", folder="b", arch="ViT-large/16")
    write(tmp_path, "c")
    rows = leaderboard(tmp_path, resamples=0).groups[0].rows
    assert sorted(labels(rows)) == ["a (ViT-base/16)", "a (ViT-large/16)", "c"]


def test_a_method_pretrained_on_two_data_sets_has_a_name_with_each(tmp_path):
    write_two_sets(tmp_path, "ours", "theirs")
    write(tmp_path, "ours", 5, 60.0, folder="unknown")
    write(tmp_path, "alone")
    board = leaderboard(tmp_path, [("ours", "theirs")], resamples=0)
    sets = ["imagenet 00000000", "places 11111111"]
    found = {line.label(): line.entries[0].told() for line in overview(board).lines}
    named = [f"{method} ({name})" for method in ("ours", "theirs") for name in sets]
    assert set(found) == {*named, "ours (pretrained on not recorded)", "alone"}
    assert found["ours (pretrained on not recorded)"] == "60.00 (n = 1)"
    assert set(labels(board.groups[0].rows)) == set(found)
    assert [item.variant for item in board.comparisons] == sets
    assert all(item.verdict.startswith(f"{item.variant}: ") for item in board.comparisons)
    texts = dict(markdown=markdown(board), tex=tex(board), console=told(board))
    for name, text in texts.items():
        # overview and, but for the terminal, the protocol's table and the comparison
        assert text.count("ours (imagenet 00000000)") >= (1 if name == "console" else 3)
    html = page(board)
    assert "<span>pretrained on</span>" in html
    for name in sets:
        assert f'<small class="under">{name}</small></th>' in html
        assert f'<td class="text" data-value="{name}">{name}</td>' in html
        assert f"<dt>pretrained on</dt><dd>{name}</dd>" in html
    lines = list(csv.DictReader(io.StringIO(csv_text(board))))
    assert {line["pretrained_on"] for line in lines if line["method"] == "theirs"} == {*sets}


def test_a_method_of_one_data_set_is_called_by_its_name_alone(tmp_path):
    start = weights("a", 0)
    start["origin"]["data"] = dict(name="imagenet", manifest_sha256="0" * 64)
    write(tmp_path, "a", checkpoint=start)
    board = leaderboard(tmp_path, resamples=0)
    assert [line.label() for line in overview(board).lines] == labels(board.groups[0].rows) == ["a"]
    assert "<span>pretrained on" not in page(board)


def told(board) -> str:
    console = Console(width=300, file=io.StringIO())
    console.print(overview_table(board))
    return console.file.getvalue()


def test_a_table_has_the_headline_first_and_the_metrics_that_are_known(tmp_path):
    write(tmp_path, metrics={"layer3/top1_k10": 1.0, "top5": 2.0, "top1": 3.0})
    group = leaderboard(tmp_path, resamples=0).groups[0]
    assert shown_metrics(group) == ["top1", "top5"]


def test_a_table_of_detection_has_average_recall_beside_precision(tmp_path):
    names = ["bbox_mAP", "bbox_mAP_50", "bbox_mAP_75", "bbox_mAP_s", "bbox_AR@100", "segm_mAP"]
    write(tmp_path, metrics=dict.fromkeys(names, 1.0) | {"segm_AR@100": 1.0})
    group = leaderboard(tmp_path, resamples=0).groups[0]
    shown = ["bbox_mAP", "bbox_mAP_50", "bbox_mAP_75", "bbox_AR@100", "segm_mAP"]
    assert sorted(shown_metrics(group)) == sorted(shown) and shown_metrics(group)[0] == shown[0]


def test_a_task_that_a_suite_did_not_plan_for_a_method_is_not_asked(tmp_path):
    root = write_suite(tmp_path)
    suite = json.loads((root / "suite.json").read_text())
    suite["methods"].append("pixels")
    test = dict(method="pixels", task="nearest", seed=0, kind="test", status="complete", log=None)
    suite["stages"].append(test | dict(stage="pixels/test"))
    (root / "suite.json").write_text(json.dumps(suite))
    write(root, "pixels", folder="pixels/test")
    write(root, "stranger")
    board = asked_board(root, read_asked(root), resamples=0)
    assert board.not_asked == (("pixels", "finetune"),)
    told = {line.method: line.entries[-1].told() for line in overview(board).lines}
    assert told["pixels"] == "not asked" and told["stranger"] == "–"
    assert "not asked" not in told["ours"]
    assert page(board).count('<span class="none">not asked</span>') == 1
    assert "| not asked |" in markdown(board) and " & not asked" in tex(board)
