"""A row whose pretraining a supervised network taught says so, in every format of the table."""

from __future__ import annotations

import csv
import io
import json

import pytest
from result_files import finetuned, weights, write
from rich.console import Console

from semaim_mm.leaderboard.model import as_json
from semaim_mm.leaderboard.table import leaderboard
from semaim_mm.leaderboard.write.console import overview_table
from semaim_mm.leaderboard.write.csv_file import csv_text
from semaim_mm.leaderboard.write.markdown import escape as markdown_escape
from semaim_mm.leaderboard.write.markdown import markdown
from semaim_mm.leaderboard.write.overview import by_labels
from semaim_mm.leaderboard.write.page import page
from semaim_mm.leaderboard.write.tex import escape as tex_escape
from semaim_mm.leaderboard.write.tex import tex
from semaim_mm.report.history import labelled_teachers
from semaim_mm.report.result import read_result

NET = dict(type="ConvTeacher", model="tf_efficientnet_lite0", labels=True)
CLIP = dict(type="CLIPTeacher", model="clip", labels=False)
NOTE = "features of tf_efficientnet_lite0, which labels taught"


def taught(
    name: str, *teachers: dict, started_from: dict | None = None, loaded: dict | None = None
) -> dict:
    """The record of a pretraining of seed 0 with these teachers."""
    record = weights(name, 0, started_from)
    record["origin"] |= dict(training=dict(teachers=list(teachers)), loaded=loaded)
    return record


def fine(method: str, *teachers: dict) -> dict:
    changes = finetuned(method, 0, 0)
    changes["checkpoint"]["started_from"] = taught(f"{method} 0", *teachers)
    return changes


@pytest.fixture(scope="module")
def board(tmp_path_factory):
    root = tmp_path_factory.mktemp("taught")
    write(root, "cached", checkpoint=taught("cached", NET))
    write(root, "clip", checkpoint=taught("clip", CLIP), score=40.0)
    write(root, "pixels", score=30.0)
    write(root, **fine("cached", NET))
    write(root, **fine("clip", CLIP))
    return leaderboard(root, resamples=0)


def test_frozen_and_finetuned_rows_are_told_and_no_others(board):
    told = {(g.task, r.method): NOTE in r.notes for g in board.groups for r in g.rows}
    assert told == {
        ("knn", "cached"): True,
        ("knn", "clip"): False,
        ("knn", "pixels"): False,
        ("finetune", "cached"): True,
        ("finetune", "clip"): False,
    }


def test_it_is_said_beside_the_overview_and_in_every_groups_table(board):
    sentence = f"Not self-supervised: cached predicts {NOTE}."
    console = Console(width=250, file=io.StringIO())
    console.print(overview_table(board))
    assert sentence in " ".join(console.file.getvalue().split())
    text = markdown(board)
    assert text.count(markdown_escape(sentence, 400)) == 1
    assert text.count(markdown_escape(NOTE, 300)) == 1 + 2
    assert tex(board).count(tex_escape(NOTE, 400)) == 1 + 2
    assert page(board).count(NOTE) >= 1 + 2 and sentence in page(board)
    rows = [r for r in csv.DictReader(io.StringIO(csv_text(board))) if r["kind"] == "measured"]
    assert {r["method"] for r in rows if NOTE in r["notes"]} == {"cached"}
    assert NOTE in json.dumps(as_json(board))


def test_nothing_is_said_where_no_labels_taught(tmp_path):
    write(tmp_path, "clip", checkpoint=taught("clip", CLIP))
    assert "labels taught" not in markdown(leaderboard(tmp_path, resamples=0))


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        (taught("a", NET, CLIP, dict(NET, model="resnet50")), (["resnet50", NET["model"]], [])),
        (taught("a", dict(type="ConvTeacher", model="old")), (["old"], [])),
        (taught("a", dict(type="TimmTeacher", model="old")), ([], [])),
        (taught("a", dict(NET, labels=False)), ([], [])),
        (taught("a", started_from=taught("b", NET)), ([], [NET["model"]])),
        (taught("a", loaded=taught("b", NET)), ([], [NET["model"]])),
        (taught("a", loaded=taught("b", started_from=taught("c", NET))), ([], [NET["model"]])),
        (taught("a", NET, loaded=taught("b", NET)), ([NET["model"]], [])),
        (taught("a", loaded=dict(file="b.pth", sha256="0" * 64)), ([], [])),
        (weights("a"), ([], [])),
        (taught("a", "no record", loaded=["no record"]), ([], [])),
        (None, ([], [])),
    ],
    ids=["several", "of before", "of before, a ViT", "told not to", "further back", "a whole model",
         "behind a whole model", "the same again", "a whole model, of before", "no origin",
         "garbage", "no weights"],
)  # fmt: skip
def test_supervised_teachers_are_found_along_the_weights_history(record, expected, tmp_path):
    result = read_result(write(tmp_path, checkpoint=record))
    assert labelled_teachers(result) == expected


def test_a_network_finetuned_from_random_weights_had_no_teacher(tmp_path):
    result = read_result(write(tmp_path, **finetuned("scratch", None, 0)))
    assert labelled_teachers(result) == ([], [])


def test_a_finetuning_of_a_whole_model_inherits_what_taught_that(tmp_path):
    changes = finetuned("continued", None, 0)
    tuned = weights("tuned", 0, taught("pretrained", NET))
    changes["checkpoint"]["origin"]["loaded"] = tuned
    assert labelled_teachers(read_result(write(tmp_path, **changes))).inherited == [NET["model"]]


def test_of_weights_that_only_started_from_such_it_is_said_so(tmp_path):
    write(tmp_path, "pixels", checkpoint=taught("pixels", loaded=taught("before", NET)))
    board = leaderboard(tmp_path, resamples=0)
    assert by_labels(board) == (
        "Not self-supervised: pixels started from weights that predicted "
        "features of tf_efficientnet_lite0, which labels taught."
    )
