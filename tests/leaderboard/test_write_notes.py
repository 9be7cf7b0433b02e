"""What a task's note, a sweep's trials and a comparison say is in every format of the table."""

from __future__ import annotations

import csv
import io
import json

import pytest
from boards import NOTE, write_noted
from result_files import write

from semaim_mm.leaderboard.asked import asked_board, read_asked
from semaim_mm.leaderboard.table import leaderboard
from semaim_mm.leaderboard.write.charts import against_cost, bars
from semaim_mm.leaderboard.write.console import overview_table
from semaim_mm.leaderboard.write.csv_file import csv_text
from semaim_mm.leaderboard.write.markdown import escape as markdown_escape
from semaim_mm.leaderboard.write.markdown import markdown
from semaim_mm.leaderboard.write.page import page
from semaim_mm.leaderboard.write.tex import escape as tex_escape
from semaim_mm.leaderboard.write.tex import tex, whole


@pytest.fixture(scope="module")
def board(tmp_path_factory):
    root = write_noted(tmp_path_factory.mktemp("noted"))
    return asked_board(root, read_asked(root), resamples=50)


@pytest.fixture(scope="module")
def lines(board):
    return list(csv.DictReader(io.StringIO(csv_text(board))))


def test_a_tasks_note_stands_in_its_section_of_the_page_and_in_no_other(board):
    sections = page(board).split('class="group"')[1:]
    told = "ranks nothing &amp; &lt;b&gt;shows&lt;/b&gt; the chain"
    named = {group.task: told in text for group, text in zip(board.groups, sections, strict=True)}
    # the sections are in the order of the suite's tasks: k-NN, then finetuning
    assert list(named.values()) == [True, False] and len(board.groups) == 2


def test_a_tasks_note_stands_in_its_section_of_the_markdown(board):
    sections = markdown(board).split("\n### ")[1:]
    assert [markdown_escape(NOTE, 400) in text for text in sections] == [True, False]


def test_a_tasks_note_stands_below_its_table_in_tex(board):
    text = tex(board)
    told = tex_escape(NOTE, 400)
    # once with the overview, once with the group
    assert text.count(told) == 2
    assert text.index(r"\textbf{knn}") < text.rindex(told) < text.index(r"\textbf{finetune}")


def test_a_tasks_note_stands_on_each_of_its_rows_in_csv(lines):
    measured = [line for line in lines if line["kind"] == "measured"]
    assert {line["task"] for line in measured if NOTE in line["notes"]} == {"knn"}
    assert all(NOTE in line["notes"] for line in measured if line["task"] == "knn")


def test_a_note_stands_with_every_name_that_results_give_its_task(tmp_path):
    root = write_noted(tmp_path)
    suite = json.loads((root / "suite.json").read_text())
    for stage in suite["stages"]:
        stage["task"] = "nearest" if stage["kind"] == "test" else stage["task"]
    (root / "suite.json").write_text(json.dumps(suite | dict(tasks=["nearest"])))
    board = asked_board(root, read_asked(root), resamples=0)
    assert board.notes == {"knn": NOTE, "finetune": NOTE}


def test_the_overview_says_where_an_interval_has_two_spreads(board, tmp_path):
    told = "In finetune each pretraining seed has its own finetuning or probe"
    texts = (markdown(board), tex(board), page(board), str(overview_table(board).caption))
    for text in texts:
        assert " ".join(text.split()).count(told) == 1
    write(tmp_path)
    alone = leaderboard(tmp_path, resamples=0)
    for text in (markdown(alone), tex(alone), page(alone), str(overview_table(alone).caption)):
        assert "has its own finetuning" not in text


def test_csv_says_which_intervals_have_two_spreads(lines):
    over = {
        (line["kind"], line["task"]): line["over_pretraining_seeds_spread"]
        for line in lines
        if line["kind"] in ("measured", "comparison") and line["method"] == "ours"
    }
    both = "over pretraining seeds, each with its own finetuning"
    for kind in ("measured", "comparison"):
        assert over[kind, "knn"] == "over pretraining seeds" and over[kind, "finetune"] == both


def test_charts_say_which_intervals_have_two_spreads(board):
    for group in board.groups:
        (name,) = (
            t["name"] for t in bars(group, board.methods)["data"] if "seeds" in str(t["meta"])
        )
        both = ", each with its own finetuning" if group.task == "finetune" else ""
        assert name == f"95 % over pretraining seeds{both}"
        for figure in (bars(group, board.methods), against_cost(group, board.methods)):
            assert f"{name.removeprefix('95 % ')}: " in str(figure)


def test_a_sweeps_trials_stand_in_tex(board):
    assert len(board.trials) == 1
    text = tex(board).split("Trials of the sweep")[1].split(r"\end{longtable}")[0]
    assert f"{whole('base_lr=0.25')} & top1 & 65.00 & 60" in text


def test_declared_comparisons_stand_in_csv_with_their_whole_numbers(board, lines):
    found = [line for line in lines if line["kind"] == "comparison"]
    assert len(found) == len(board.comparisons) == 2
    for line, item in zip(found, board.comparisons, strict=True):
        assert (line["method"], line["minus"], line["task"]) == (item.first, item.second, item.task)
        assert float(line["value"]) == item.over_pretraining.value
        assert float(line["over_pretraining_seeds_low"]) == item.over_pretraining.low
        assert float(line["over_test_images_these_weights_high"]) == item.over_images.high
        assert (float(line["p"]), float(line["p_corrected"])) == (item.p, item.corrected)
        assert float(line["smallest_detectable"]) == item.detectable
        assert line["notes"] == item.verdict and not line["rank"]
