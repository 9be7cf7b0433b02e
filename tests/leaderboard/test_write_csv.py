"""CSV: every number whole, and no text that a spreadsheet would run."""

from __future__ import annotations

import csv
import io

import pytest
from boards import HOSTILE, write_hostile, write_suite
from result_files import write

from semaim_mm.leaderboard.asked import asked_board, read_asked
from semaim_mm.leaderboard.table import leaderboard
from semaim_mm.leaderboard.write.csv_file import csv_text, safe
from semaim_mm.leaderboard.write.text import clean


def lines_of(board) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(csv_text(board))))


@pytest.fixture(scope="module")
def board(tmp_path_factory):
    root = write_suite(tmp_path_factory.mktemp("suite"))
    return asked_board(root, read_asked(root), resamples=50)


@pytest.mark.parametrize("name", HOSTILE)
def test_a_text_never_begins_as_a_formula(name):
    told = safe(name)
    assert told[0] not in "=+-@|%\t\r\n" and "\n" not in told
    assert told.removeprefix("'") == clean(name)


def test_numbers_are_numbers_even_where_they_are_negative():
    assert [safe(value) for value in (-1.5, 0, None, True)] == [-1.5, 0, None, "true"]


def test_every_hostile_name_is_one_field_of_one_line(tmp_path):
    found = lines_of(leaderboard(write_hostile(tmp_path), resamples=0))
    measured = [line for line in found if line["kind"] == "measured"]
    assert {line["method"] for line in measured} == {str(safe(name)) for name in HOSTILE}
    assert all(None not in line and line["value"] for line in measured)


def test_numbers_come_back_bit_by_bit(board):
    found = {
        (line["fingerprint"], line["method"], line["metric"]): line
        for line in lines_of(board)
        if line["kind"] == "measured"
    }
    assert len(found) == sum(len(row.cells) for group in board.groups for row in group.rows)
    for group in board.groups:
        for row in group.rows:
            line, cell = found[group.fingerprint, row.method, "top1"], row.cells["top1"]
            assert float(line["value"]) == cell.value and line["headline"] == "true"
            assert line["rank"] == str(row.rank)
            if not row.single:
                assert float(line["over_pretraining_seeds_high"]) == cell.over_pretraining.high
            images = float(line["over_test_images_these_weights_low"])
            assert images == cell.over_images.low


def test_published_failed_not_run_and_excluded_are_kinds_of_their_own(board):
    kinds = [line["kind"] for line in lines_of(board)]
    assert set(kinds) == {"measured", "comparison", "published", "failed", "not run", "excluded"}
    assert kinds.count("published") == len(board.published)
    published = [line for line in lines_of(board) if line["kind"] == "published"]
    assert not any(line["rank"] or line["fingerprint"] for line in published)
    assert all(line["source"] for line in published)
    assert {line["second_hand"] for line in published} == {"true", "false"}


def test_no_pretraining_is_zero_and_unknown_is_empty(tmp_path):
    write(tmp_path, "a")
    write(tmp_path, "b", checkpoint=None)
    lines = {line["method"]: line for line in lines_of(leaderboard(tmp_path, resamples=0))}
    assert lines["a"]["pretraining_flops"] == "" and lines["a"]["pretraining_epochs"] == "5.0"
    assert lines["b"]["pretraining_flops"] == "0.0"
