"""Charts, learning curves and order maps: what the page's figures are made of."""

from __future__ import annotations

import json

import numpy as np
import plotly.graph_objects as go
import pytest
from boards import HOSTILE, write_curve, write_hostile, write_suite
from PIL import Image
from result_files import weights, write, write_right

from semaim_mm.leaderboard.asked import read_asked
from semaim_mm.leaderboard.table import leaderboard
from semaim_mm.leaderboard.write.charts import (
    against_cost,
    bars,
    curve_figures,
    plain,
    side_by_side,
)
from semaim_mm.leaderboard.write.curves import POINTS, learning_curves
from semaim_mm.leaderboard.write.order_maps import MOST, order_maps
from semaim_mm.leaderboard.write.overview import methods_of


@pytest.fixture(scope="module")
def suite(tmp_path_factory):
    return write_suite(tmp_path_factory.mktemp("suite"))


@pytest.fixture(scope="module")
def board(suite):
    return leaderboard(suite, resamples=50)


def by_role(figure):
    return {trace["meta"]["role"]: trace for trace in figure["data"]}


def test_plotly_knows_every_property_of_every_figure(suite, board, tmp_path):
    hostile = leaderboard(write_hostile(tmp_path), resamples=50)
    for found in (board, hostile):
        methods = methods_of(found)
        for group in found.groups:
            figures = [bars(group, methods), against_cost(group, methods)]
            figures += curve_figures(learning_curves(suite), methods).values()
            for figure in filter(None, figures):
                # it raises ValueError for what it does not know
                assert len(go.Figure(figure).data) == len(figure["data"]) > 0
                json.dumps(figure, allow_nan=False)


def test_bars_have_the_means_and_both_intervals_best_on_top(board):
    group = next(group for group in board.groups if group.task == "knn")
    found = by_role(bars(group, methods_of(board)))
    cells = [row.cells["top1"] for row in group.rows][::-1]
    assert found["bars"]["x"] == [cell.value for cell in cells]
    assert found["seeds"]["name"] == "95 % over pretraining seeds"
    assert found["images"]["name"] == "95 % over test images, these weights"
    for role, name in (("seeds", "over_pretraining"), ("images", "over_images")):
        intervals = [getattr(cell, name) for cell in cells]
        errors = found[role]["error_x"]
        ends = [cell.value + up for cell, up in zip(cells, errors["array"], strict=True)]
        assert ends == pytest.approx([interval.high for interval in intervals])
        ends = [cell.value - down for cell, down in zip(cells, errors["arrayminus"], strict=True)]
        assert ends == pytest.approx([interval.low for interval in intervals])


def test_one_seed_has_no_bar_of_error_over_seeds(tmp_path):
    write_right(tmp_path, np.arange(40) > 10)
    group = leaderboard(tmp_path, resamples=50).groups[0]
    assert set(by_role(bars(group, ["ours"]))) == {"bars", "images"}


def test_scores_stand_against_flops_and_no_pretraining_is_a_line(board):
    group = next(group for group in board.groups if group.task == "knn")
    figure = against_cost(group, methods_of(board))
    found = {trace["name"]: (trace["x"][0], trace["y"][0]) for trace in figure["data"]}
    values = {row.method: row.cells["top1"].value for row in group.rows}
    assert found == {"ours": (1e12, values["ours"]), "theirs": (2e12, values["theirs"])}
    assert [shape["y0"] for shape in figure["layout"]["shapes"]] == [values["none"]]
    low, high = figure["layout"]["yaxis"]["range"]
    assert low < min(values.values()) and high > max(values.values())


def test_a_difference_within_the_intervals_over_images_does_not_look_large(tmp_path):
    for number, method in enumerate(("a", "b")):
        record = weights(method, 0)
        record["origin"]["budget"]["flops"] = (1 + number) * 1e12
        write_right(tmp_path, np.arange(40) > 19 + number, method=method, checkpoint=record)
    group = leaderboard(tmp_path, resamples=200).groups[0]
    low, high = against_cost(group, ["a", "b"])["layout"]["yaxis"]["range"]
    for row in group.rows:
        assert low < row.cells["top1"].over_images.low < row.cells["top1"].over_images.high < high


def test_there_is_no_chart_of_costs_that_nobody_wrote_down(tmp_path):
    write(tmp_path)
    assert against_cost(leaderboard(tmp_path, resamples=0).groups[0], ["ours"]) is None


@pytest.mark.parametrize("logarithmic", [False, True])
def test_points_of_one_cost_are_set_apart_around_it_and_others_stay(logarithmic):
    placed = side_by_side([1e12, 3e12, 3e12, 3e12, 9e12], logarithmic)
    assert placed[0] == pytest.approx(1e12) and placed[-1] == pytest.approx(9e12)
    assert placed[2] == pytest.approx(3e12)
    assert placed[1] < placed[2] < placed[3] < 3.8e12
    assert side_by_side([5e12, 5e12], logarithmic)[0] < 5e12


def test_a_method_has_one_colour_in_every_chart(suite, board):
    methods = methods_of(board)
    group = next(group for group in board.groups if group.task == "knn")
    shown = bars(group, methods)["data"][0]["meta"]["series"]
    assert shown == [methods.index(row.method) for row in group.rows[::-1]]
    for trace in against_cost(group, methods)["data"]:
        assert trace["meta"]["series"] == methods.index(trace["name"])
    for trace in curve_figures(learning_curves(suite, read_asked(suite)), methods)["pretraining"][
        "data"
    ]:
        assert trace["meta"]["series"] == methods.index(trace["name"])


@pytest.mark.parametrize("name", HOSTILE)
def test_plotly_is_given_no_markup_of_a_names_own(name):
    assert "<" not in plain(name, 10000) and ">" not in plain(name, 10000)


def test_curves_are_read_with_what_the_suite_says_of_them(suite):
    found = learning_curves(suite, read_asked(suite))
    assert {(c.part, c.method, c.seed) for c in found} == {
        ("pretraining", method, seed) for method in ("ours", "theirs") for seed in range(3)
    }
    # the last line was cut off in the middle
    assert found[0].steps == tuple(range(1, 41))
    assert found[0].losses == pytest.approx([1 / step for step in range(1, 41)], rel=1e-5)


def test_without_a_suite_a_curve_is_named_by_its_folder(suite):
    found = learning_curves(suite)
    assert (found[0].part, found[0].method, found[0].seed) == (
        "training",
        "m0/seed0/pretrain",
        0,
    )


def test_a_resumed_run_is_one_curve_and_the_later_file_counts(tmp_path):
    write_curve(tmp_path / "run", 1.0, "20260101_000000", first=1)
    write_curve(tmp_path / "run", 2.0, "20260102_000000", first=31)
    (curve,) = learning_curves(tmp_path)
    assert curve.steps == tuple(range(1, 71))
    assert curve.losses[29] == pytest.approx(1 / 30, rel=1e-5)
    assert curve.losses[30] == pytest.approx(2 / 31, rel=1e-5)


def test_what_a_suite_moved_aside_has_no_curve(tmp_path):
    write_curve(tmp_path / "run.stale1", 1.0)
    assert learning_curves(tmp_path) == []


@pytest.mark.parametrize("recorded", [True, False], ids=["in a suite", "by path"])
def test_trials_of_a_sweep_have_no_curve_beside_the_training_they_chose_for(tmp_path, recorded):
    # a method and a task that only sound like trials keep theirs
    final = ["ours/seed0/finetune", "ours/seed0/trial1", "trial2/seed0/finetune"]
    names = [f"{name}/train" for name in final]
    trials = [f"ours/seed0/finetune/trial{number}/train" for number in range(4)]
    for name in (*names, *trials):
        write_curve(tmp_path / name, 1.0)
    stages = [
        dict(stage=name, method=name.split("/")[0], task=name.split("/")[2], seed=0, kind="train",
             status="complete", log=None, trial=0 if name in trials else None)
        for name in (*names, *trials)
    ]  # fmt: skip
    asked = dict(suite="s", methods=["ours"], tasks=["finetune"], comparisons=[], stages=stages)
    if recorded:
        (tmp_path / "suite.json").write_text(json.dumps(asked))
    found = learning_curves(tmp_path, read_asked(tmp_path))
    assert [curve.path for curve in found] == names
    assert len({(curve.part, curve.method, curve.seed) for curve in found}) == 3


def test_lines_that_are_no_losses_are_passed_over(tmp_path):
    place = tmp_path / "run" / "20260101_000000" / "vis_data"
    place.mkdir(parents=True)
    lines = ["[]", "null", "{", '{"loss": NaN, "step": 1}', '{"loss": "x", "step": 2}']
    lines += ['{"top1": 3.0, "step": 3}', '{"loss": 0.5, "step": 4}']
    (place / "scalars.json").write_bytes("\n".join(lines).encode() + b"\n\xff\xfe")
    (curve,) = learning_curves(tmp_path)
    assert (curve.steps, curve.losses) == ((4,), (0.5,))


def test_a_held_out_loss_is_no_point_of_the_curve_but_told_beside_it(tmp_path):
    place = tmp_path / "run" / "20260101_000000" / "vis_data"
    place.mkdir(parents=True)
    lines = [dict(loss=0.9, step=50), dict(loss=0.8, mean_predictor_loss=1.0, step=1)]
    lines += [dict(loss=0.7, step=100), dict(loss=0.6, mean_predictor_loss=1.0, step=2)]
    (place / "scalars.json").write_text("\n".join(map(json.dumps, lines)))
    (curve,) = learning_curves(tmp_path)
    assert (curve.steps, curve.losses, curve.held_out) == ((50, 100), (0.9, 0.7), 0.6)


def test_a_long_curve_is_averaged_in_stretches(tmp_path):
    place = tmp_path / "run" / "20260101_000000" / "vis_data"
    place.mkdir(parents=True)
    lines = [json.dumps(dict(loss=step % 4, step=step)) for step in range(1, 4 * POINTS + 1)]
    (place / "scalars.json").write_text("\n".join(lines))
    (curve,) = learning_curves(tmp_path)
    assert len(curve.steps) == POINTS and set(curve.losses) == {1.5}
    assert curve.steps[-1] == 4 * POINTS


def test_order_maps_are_png_files_by_name_and_no_more_than_fit(tmp_path):
    folder = tmp_path / "deep" / "orders"
    folder.mkdir(parents=True)
    for number in range(MOST + 2):
        Image.new("RGB", (2, 2)).save(folder / f"{number:03}.png")
    found, left_out = order_maps(tmp_path)
    assert [picture.name for picture in found] == [f"{number:03}" for number in range(MOST)]
    assert left_out == {"order map": 2}
    assert all(picture.uri.startswith("data:image/png;base64,iVBORw0KGgo") for picture in found)


def test_a_file_that_only_calls_itself_png_is_left_out(tmp_path):
    (tmp_path / "orders").mkdir()
    (tmp_path / "orders" / "a.png").write_text("<svg onload=alert(1)>")
    assert order_maps(tmp_path) == ([], {"order map": 0})


def test_flops_decide_a_points_place_and_seeds_its_error(tmp_path):
    for seed, score in enumerate((50.0, 52.0, 57.0)):
        record = weights(f"a{seed}", seed)
        record["origin"]["budget"]["flops"] = 2e12
        write(tmp_path, seed=seed, score=score, checkpoint=record)
    group = leaderboard(tmp_path, resamples=0).groups[0]
    (point,) = against_cost(group, ["ours"])["data"]
    interval = group.rows[0].cells["top1"].over_pretraining
    assert point["x"] == [2e12] and point["y"] == [53.0]
    assert point["error_y"]["array"] == pytest.approx([interval.high - 53.0])
