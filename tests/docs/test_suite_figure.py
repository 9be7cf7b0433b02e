"""A suite's picture says what its file says, and the one that README shows is of the file there."""

from __future__ import annotations

import json
from itertools import pairwise

import pytest
import suite_figure
from measured_suite import FOLDER
from PIL import Image
from suite_figure import COLOR, IMAGES, KEY, ROOT, amount, digest_of, draw, flops_of, limits

from semaim_mm.leaderboard.write.text import NONE, quantity


def score(value: float, half: float | None = None, n: int = 3) -> dict:
    low, high = (None, None) if half is None else (value - half, value + half)
    return dict(value=value, low=low, high=high, n=n)


def cost(flops: str) -> list[str]:
    return ["1", "8 000", flops, "0.5"]


COLUMNS = [("knn", "top1", "a"), ("coco", "bbox_mAP", "b"), ("coco", "segm_mAP", "b")]
KNN = [score(30, 2), score(40, 25), score(20, 1), score(35, n=2), score(50, n=1), score(33, 3)]
KNN += [None]
COCO = [score(9, 1), None, score(10, 2), None, None, None, score(8, 0.5)]
FLOPS = [3e12, 2e12, 0, 811e9, 0, 811e9, None]


@pytest.fixture(scope="module")
def found() -> dict:
    """Seven methods in two tasks, one of two columns; the last has no k-NN and no known cost."""
    names = ("ours", "a$b$_wide", "random", "equal", "pixels", "other", "unknown")
    costs = [cost("3 T"), cost("2 T"), ["none", NONE, NONE, NONE], cost("811 G")]
    costs += [["none", NONE, NONE, NONE], cost("811 G"), None]
    rows = [
        # a metric that is not the task's headline must not be drawn
        dict(method=m, cost=c, cells=[[a] if a else [], [b] if b else [], [score(77, 7)]])
        for m, c, a, b in zip(names, costs, KNN, COCO, strict=True)
    ]
    columns = [dict(task=t, metric=m, fingerprint=f) for t, m, f in COLUMNS]
    return dict(suite="toy", results=20, absent=4, columns=columns, rows=rows)


@pytest.fixture(scope="module")
def drawn(found):
    """-> the panels of k-NN, of detection and of the cost, laid out."""
    figure = draw(found)
    figure.draw_without_rendering()
    return figure.axes


def lines(axes, *names):
    return [line for line in axes.lines if line.get_gid() in names]


def dots(axes) -> list[tuple[float, float]]:
    found = lines(axes, "mean", "equal", "alone")
    return [(float(line.get_xdata()[0]), float(line.get_ydata()[0])) for line in found]


def test_panels_are_the_tasks_headlines_and_lines_the_methods_in_order(drawn, found):
    assert [axes.get_title() for axes in drawn] == ["knn: top1", "coco: bbox_mAP", ""]
    labels = [label.get_text() for label in drawn[0].get_yticklabels()]
    assert labels == [row["method"] for row in found["rows"]]
    bottom, top = drawn[0].get_ylim()
    assert bottom > len(labels) - 1 and top < 0, "the first method is uppermost"


@pytest.mark.parametrize(("number", "cells"), [(0, KNN), (1, COCO)], ids=["knn", "coco"])
def test_a_dot_for_every_result_and_none_for_a_missing_one(drawn, number, cells):
    expected = [(cell["value"], line) for line, cell in enumerate(cells) if cell]
    assert sorted(dots(drawn[number])) == sorted(expected)
    left, right = drawn[number].get_xlim()
    assert all(left < x < right for x, _ in dots(drawn[number]))


@pytest.mark.parametrize(("number", "cells"), [(0, KNN), (1, COCO)], ids=["knn", "coco"])
def test_intervals_end_where_they_end_or_in_an_arrowhead_at_the_panels_edge(drawn, number, cells):
    axes = drawn[number]
    left, right = axes.get_xlim()
    bars = {line.get_ydata()[0]: tuple(line.get_xdata()) for line in lines(axes, "interval")}
    spread = {y: i for y, i in enumerate(cells) if i and i["low"] is not None}
    assert bars == {y: (max(i["low"], left), min(i["high"], right)) for y, i in spread.items()}
    heads = [
        (line.get_xdata()[0], line.get_ydata()[0], line.get_marker())
        for line in lines(axes, "goes on")
    ]
    expected = [(left, y, "<") for y, i in spread.items() if i["low"] < left]
    expected += [(right, y, ">") for y, i in spread.items() if i["high"] > right]
    assert sorted(heads) == sorted(expected)
    assert (1 in [y for _, y, _ in heads]) == (number == 0), "25 to each side is beyond the panel"


def test_what_has_no_interval_is_marked_by_why(drawn):
    (equal,), (alone,) = lines(drawn[0], "equal"), lines(drawn[0], "alone")
    assert list(equal.get_ydata()) == [3] and equal.get_marker() == "D"
    assert list(alone.get_ydata()) == [4] and alone.get_markerfacecolor() == "white"
    for mean in lines(drawn[0], "mean"):
        assert (mean.get_marker(), mean.get_markerfacecolor()) == ("o", COLOR)


def test_the_dashed_line_is_the_untrained_start(drawn, found):
    for axes, value in zip(drawn, (20, 10, 20), strict=True):
        (line,) = lines(axes, "start")
        data = line.get_ydata() if axes is drawn[2] else line.get_xdata()
        assert list(data) == [value, value] and line.get_linestyle() == "--"
    trained = found | dict(rows=[row for row in found["rows"] if row["method"] != "random"])
    figure = draw(trained)
    assert not [line for axes in figure.axes for line in lines(axes, "start")]
    told = [text.get_text() for text in figure.legends[0].get_texts()]
    assert told and not any("untrained" in text for text in told)


def test_scores_stand_over_the_cost_of_their_pretraining(drawn, found):
    expected = [(f, i["value"]) for f, i in zip(FLOPS, KNN, strict=True) if i and f is not None]
    assert sorted(dots(drawn[2])) == sorted(expected)
    assert drawn[2].get_ylabel() == "knn: top1, means"
    names = [text for text in drawn[2].texts if text.get_gid() == "name"]
    assert {text.get_text() for text in names} == {r["method"] for r in found["rows"][:6]}
    boxes = [text.get_window_extent() for text in names]
    pairs = [(a, b) for n, a in enumerate(boxes) for b in boxes[:n]]
    assert not any(a.overlaps(b) for a, b in pairs)


def test_names_of_equal_cost_do_not_overlap(found):
    cells = [[score(30 + 0.01 * n, 1)] for n in range(7)] + [[score(60, 1)]]
    rows = [dict(method=f"method {n}", cost=cost("3 T"), cells=[c]) for n, c in enumerate(cells)]
    figure = draw(found | dict(rows=rows, columns=found["columns"][:1]))
    names = [text for text in figure.axes[-1].texts if text.get_gid() == "name"]
    figure.draw_without_rendering()
    tops = sorted((t.get_window_extent().y0, t.get_window_extent().y1) for t in names)
    assert len(tops) == 8
    assert all(after[0] >= before[1] - 3 for before, after in pairwise(tops))
    # in the order of their scores
    order = sorted(names, key=lambda text: text.get_position()[1])
    assert [text.get_text() for text in order] == [row["method"] for row in rows]


def test_the_title_says_how_much_is_there(found):
    assert "Suite toy so far (20 of 24 results)" in suite_figure.title(found)
    assert "n = 1 or 2 or 3;" in suite_figure.title(found)
    assert "so far" not in suite_figure.title(found | dict(absent=0))
    whole = {key: value for key, value in found.items() if key != "absent"}
    assert suite_figure.title(whole).startswith("Suite toy: %"), (
        "older files don't count the absent"
    )


def test_most_intervals_fit_whole():
    left, right = limits([score(50, 1), score(51, 1), score(52, 2), score(49, 30)])
    assert (left, right) == (pytest.approx(49 - 2.2), pytest.approx(52 + 2.2))
    left, right = limits([score(50, n=1)])
    assert left < 50 < right


def test_amounts_are_read_as_they_are_written():
    for value in (3.17e12, 8.11e11, 0.0, 42.0, 1e18):
        assert amount(quantity(value)) == pytest.approx(value)
    assert amount(NONE) is None
    assert flops_of(dict(cost=["1", NONE, NONE, NONE])) is None


def test_two_protocols_of_a_task_are_told_apart(found):
    columns = [dict(task="knn", metric="top1", fingerprint=f * 16) for f in "ab"]
    shown = suite_figure.shown(found | dict(columns=columns))
    assert [(s.place, s.title) for s in shown] == [
        (0, "knn: top1 · aaaaaaaa"),
        (1, "knn: top1 · bbbbbbbb"),
    ]


def test_a_picture_keeps_the_digest_of_its_file(found, tmp_path, monkeypatch):
    monkeypatch.setattr(suite_figure, "FOLDER", tmp_path)
    (tmp_path / "toy.json").write_text(json.dumps(found))
    path = suite_figure.write("toy", tmp_path)
    assert path.name == "suite-toy.png"
    assert Image.open(path).info[KEY] == digest_of(tmp_path / "toy.json")


@pytest.mark.parametrize("path", sorted(IMAGES.glob("suite-*.png")), ids=lambda path: path.stem)
def test_a_committed_picture_is_of_the_file_there(path):
    name = path.stem.removeprefix("suite-")
    told = f"draw it anew: python tests/docs/suite_figure.py {name}"
    assert Image.open(path).info[KEY] == digest_of(FOLDER / f"{name}.json"), told
    assert path.stat().st_size < 200_000


def test_readme_shows_the_picture_below_its_table_with_its_command():
    text = (ROOT / "README.md").read_text()
    below = text.split("<!-- made: suite small -->")[1].split("<!-- end -->")[1].split("\n\n")
    assert "](docs/images/suite-small.png)" in below[1]
    assert "`python tests/docs/suite_figure.py small`" in below[2]
    assert (IMAGES / "suite-small.png").is_file()
