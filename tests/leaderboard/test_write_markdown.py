"""Markdown: tables that read as they should, and names that can do nothing in it."""

from __future__ import annotations

import re

import pytest
from boards import HOSTILE, write_hostile, write_suite
from markdown_it import MarkdownIt

from semaim_mm.leaderboard.asked import asked_board, read_asked
from semaim_mm.leaderboard.table import leaderboard
from semaim_mm.leaderboard.write.markdown import escape, markdown, table
from semaim_mm.leaderboard.write.text import clean

READER = MarkdownIt("commonmark", dict(html=True)).enable(["table", "strikethrough"])


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    root = write_suite(tmp_path_factory.mktemp("suite"))
    return markdown(asked_board(root, read_asked(root), resamples=50))


def cells_of(text: str) -> list[str]:
    """What a reader of Markdown shows in a table's cells."""
    html = READER.render(text)
    found = re.findall(r"<t[hd](?: [^>]*)?>(.*?)</t[hd]>", html, flags=re.S)
    assert not any("<" in cell for cell in found), "a cell has markup in it"
    entities = {"&lt;": "<", "&gt;": ">", "&quot;": '"', "&amp;": "&"}
    for entity, sign in entities.items():
        found = [cell.replace(entity, sign) for cell in found]
    return found


@pytest.mark.parametrize("name", HOSTILE)
def test_a_name_in_a_table_is_shown_and_does_nothing(name):
    shown = table(("name", "b"), [(name, 1)], longest=10000)
    assert cells_of(shown) == ["name", "b", clean(name), "1"]
    # what GitHub makes links of by itself
    assert not re.search(r"://|www\.|@|<|>", shown)


@pytest.mark.parametrize("name", HOSTILE)
def test_a_name_in_a_heading_or_a_line_is_shown_and_does_nothing(name):
    html = READER.render(f"### {escape(name)}\n\nProtocol {escape(name)}.")
    assert set(re.findall(r"<(/?\w+)", html)) == {"h3", "/h3", "p", "/p"}


def test_hostile_results_make_no_markup_anywhere(tmp_path):
    html = READER.render(markdown(leaderboard(write_hostile(tmp_path), resamples=0)))
    plain = {"h1", "h2", "h3", "p", "table", "thead", "tbody", "tr", "th", "td", "ul", "li"}
    assert {tag.lstrip("/") for tag in re.findall(r"<(/?\w+)", html)} == plain


def test_every_part_of_the_leaderboard_is_there(text):
    headings = re.findall(r"^#+ .*$", text, flags=re.M)
    assert headings == [
        "# Leaderboard: tiny",
        "## Overview",
        "## Declared comparisons",
        "## Measured, by protocol",
        "### knn",
        "### finetune",
        "## Published",
        "## Failed and not run",
        "## Excluded files",
    ]
    assert "over test images, these weights" in text and "over pretraining seeds" in text


def test_rows_have_rank_cost_and_both_intervals(text):
    knn = text.split("### knn")[1].split("###")[0]
    header = next(line for line in knn.splitlines() if line.startswith("| rank"))
    row = next(line for line in knn.splitlines() if "| ours |" in line)
    found = dict(
        zip(*([c.strip() for c in line.split(" | ")] for line in (header, row)), strict=True)
    )
    assert (found["epochs"], found["FLOPs"], found["device hours"]) == ("5", "1 T", "0.5")
    assert found["seeds"] == "3" and " to " in found["over pretraining seeds"]
    assert " to " in found["over test images, these weights |"]


def test_one_seed_is_marked_where_it_stands(text):
    finetune = text.split("### finetune")[1].split("## Published")[0]
    number = re.search(r"^- \((\d+)\) n = 1", finetune, flags=re.M).group(1)
    row = next(line for line in finetune.splitlines() if line.startswith("| ") and "| none" in line)
    assert f"({number})" in row


def test_failed_stands_apart_with_its_log_and_excluded_with_its_reason(text):
    assert "| none | finetune | 1 | failed | m2/seed1/finetune/test/log.txt |" in text
    assert "| none | finetune | 2 | not run | – |" in text
    assert "| broken/seed0/result.json | broken/seed0/result.json says" in text


def test_second_hand_figures_are_marked(text):
    published = text.split("## Published")[1].split("## Failed")[0]
    assert published.count("second-hand") > 1
    assert "SemAIM README \\(" not in published
