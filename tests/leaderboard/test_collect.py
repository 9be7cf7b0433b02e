"""Which results count: broken, edited, repeated and unfinished ones are named and left out."""

from __future__ import annotations

import json
import math
import shutil

import numpy as np
import pytest
from result_files import finetuned, weights, write

from semaim_mm.errors import InputError
from semaim_mm.leaderboard.collect import Seeds, collect, trust
from semaim_mm.leaderboard.table import leaderboard
from semaim_mm.report.result import canonical, sha256_text


def rewrite(path, **changes):
    """Change a written result and give it the digest that fits, as a forger would."""
    content = {**json.loads(path.read_text()), **changes}
    content.pop("digest")
    content["digest"] = sha256_text(canonical(content))
    path.write_text(json.dumps(content))


def the_reason(root):
    """The one reason for which the one bad result was left out; the good one must be in."""
    found = collect(root)
    assert [result.content["method"] for result in found.trusted] == ["good"]
    assert len(found.excluded) == 1
    return found.excluded[0].reason


@pytest.fixture
def bad(tmp_path):
    write(tmp_path, "good")
    return write(tmp_path, "bad", seed=1)


def test_results_at_any_depth_are_found_in_the_order_of_their_paths(tmp_path):
    write(tmp_path, "b", folder="x/y/z")
    write(tmp_path, "a", folder="a")
    found = collect(tmp_path)
    assert [result.content["method"] for result in found.trusted] == ["a", "b"]
    assert found.excluded == []


def test_a_folder_that_is_not_there_is_named(tmp_path):
    with pytest.raises(InputError, match="no folder of results at .*nowhere"):
        collect(tmp_path / "nowhere")


def test_an_unknown_major_schema_is_left_out(tmp_path, bad):
    rewrite(bad, schema_version="2.0")
    assert "result schema 2.0" in the_reason(tmp_path)


def test_a_result_without_a_field_is_left_out(tmp_path, bad):
    content = json.loads(bad.read_text())
    del content["hardware"]
    bad.write_text(json.dumps(content))
    assert "'hardware' is a required property" in the_reason(tmp_path)


def test_a_nan_is_left_out(tmp_path, bad):
    rewrite(bad, metrics=dict(top1=dict(value=math.nan, unit="percent")))
    assert "metric top1 that is nan" in the_reason(tmp_path)


@pytest.mark.parametrize("value", [math.inf, math.nan])
def test_a_cost_that_is_no_finite_number_is_left_out(tmp_path, bad, value):
    rewrite(bad, pretraining=json.loads(bad.read_text())["pretraining"] | dict(flops=value))
    assert f"a flops of its pretraining that is {value}" in the_reason(tmp_path)


def test_outcomes_without_their_hash_are_left_out(tmp_path):
    write(tmp_path, "good")
    bad = write(tmp_path, "bad", outcomes=dict(correct=np.array([True, False, True, False])))
    content = json.loads(bad.read_text())
    del content["outcomes_sha256"]
    bad.write_text(json.dumps(content))
    rewrite(bad)
    assert "'outcomes_sha256' is a required property" in the_reason(tmp_path)


def test_an_edited_result_is_left_out(tmp_path, bad):
    bad.write_text(bad.read_text().replace("50.0", "99.0"))
    assert "edited" in the_reason(tmp_path)


def test_a_file_that_is_no_json_is_left_out(tmp_path, bad):
    bad.write_bytes(b"\xff\x00{")
    assert "no readable result file" in the_reason(tmp_path)


@pytest.mark.parametrize(
    "metrics", ["[" * 100_000, '{"top1": {"value": 1' + "0" * 400 + ', "unit": "percent"}}']
)
def test_what_no_tool_writes_is_left_out_too(tmp_path, bad, metrics):
    content = json.loads(bad.read_text()) | dict(metrics="HERE")
    bad.write_text(json.dumps(content).replace('"HERE"', metrics))
    assert "no result that any tool wrote" in the_reason(tmp_path)


@pytest.mark.parametrize("status", ["failed", "incomplete"])
def test_a_run_that_is_not_complete_is_left_out(tmp_path, status):
    write(tmp_path, "good")
    write(tmp_path, "bad", status=status)
    assert f"its run is {status}" in the_reason(tmp_path)


def test_a_copied_result_counts_once(tmp_path):
    path = write(tmp_path, "good")
    shutil.copytree(path.parent, tmp_path / "zz")
    assert "zz/result.json is a copy of" in the_reason(tmp_path)


def test_of_an_evaluation_that_was_repeated_the_first_counts_whatever_its_score(tmp_path):
    write(tmp_path, "good", score=40.0, folder="late/first", start="2026-01-01T00:00:00+00:00")
    write(tmp_path, "good", score=60.0, folder="again", start="2026-01-02T00:00:00+00:00")
    assert "again/result.json repeats" in the_reason(tmp_path)
    assert collect(tmp_path).trusted[0].content["metrics"]["top1"]["value"] == 40.0


def test_knn_with_another_seed_is_a_repeat_since_it_draws_nothing(tmp_path):
    write(tmp_path, "good", folder="a", start="2026-01-01T00:00:00+00:00")
    write(tmp_path, "good", folder="b", checkpoint=weights("good 0", 0), seed=7)
    assert "repeats" in the_reason(tmp_path)


def test_the_same_method_with_other_seeds_data_or_protocol_is_no_repeat(tmp_path):
    write(tmp_path, "good", seed=0)
    write(tmp_path, "good", seed=1)
    write(tmp_path, "good", folder="c", data=dict(name="other", manifest_sha256=None))
    write(tmp_path, "good", folder="d", protocol=dict(task="knn", pooling="cls"))
    for seed in (0, 1):
        write(tmp_path, "random", seed, checkpoint=None)
    assert len(collect(tmp_path).trusted) == 6


def test_what_a_suite_moved_aside_is_out_of_date(tmp_path):
    write(tmp_path, "good")
    write(tmp_path, "bad", folder="bad/seed0/knn/test.stale1")
    assert "moved aside (test.stale1)" in the_reason(tmp_path)


def test_frozen_features_have_the_seed_of_their_checkpoint(tmp_path):
    found = trust(write(tmp_path, seed=9, checkpoint=weights("a", 3)))
    assert found.seeds == Seeds(pretraining=3, fitting=None)
    assert found.pretrained == weights("a")["sha256"]


def test_a_probe_has_a_fitting_seed_of_its_own(tmp_path):
    probe = dict(task="linear", evaluator=dict(type="LinearProbe"), training=None)
    found = trust(write(tmp_path, seed=9, checkpoint=weights("a", 3), protocol=probe))
    assert found.seeds == Seeds(pretraining=3, fitting=9)


def test_a_finetuned_model_has_the_pretraining_seed_of_what_it_started_from(tmp_path):
    found = trust(write(tmp_path, **finetuned("m", pretraining=3, fitting=5)))
    assert found.seeds == Seeds(pretraining=3, fitting=5)
    assert found.pretrained == weights("m 3")["sha256"]


def test_random_weights_come_from_the_seed_that_drew_them(tmp_path):
    scratch = trust(write(tmp_path, **finetuned("m", pretraining=None, fitting=5)))
    assert scratch.seeds == Seeds(5, 5) and scratch.pretrained is None
    frozen = trust(write(tmp_path, "random", seed=6, checkpoint=None))
    assert frozen.seeds == Seeds(6, None)
    assert len({scratch.run, frozen.run}) == 2


def test_parts_that_the_schema_leaves_free_may_be_anything(tmp_path):
    odd = dict(weights("m"), origin=dict(seed="seven", budget=[1]), coverage=None)
    run = dict(predictions=[1], per_class=2, training=3, chosen=4, decided_by=5, command=[])
    write(tmp_path, "odd", checkpoint=odd, protocol=dict(evaluator=["KNN"]), run=run)
    row = leaderboard(tmp_path).groups[0].rows[0]
    assert (row.epochs, row.runs[0].pretraining_seed, row.runs[0].training) == (None, None, None)
    assert "kept nothing by image" in row.cells["top1"].no_images


def test_pretrained_weights_that_are_named_by_no_hash_are_left_out(tmp_path):
    write(tmp_path, "good")
    tuned = finetuned("bad", 0, 1)
    path = write(tmp_path, **tuned)
    checkpoint = json.loads(path.read_text())["checkpoint"]
    checkpoint["started_from"]["sha256"] = ["x"]
    rewrite(path, checkpoint=checkpoint)
    assert "which is no hash" in the_reason(tmp_path)


@pytest.mark.parametrize("sha256", [["x"], None])
def test_pretrained_weights_without_a_hash_are_not_written(tmp_path, sha256):
    tuned = finetuned("bad", 0, 1)
    tuned["checkpoint"]["started_from"]["sha256"] = sha256
    with pytest.raises(InputError, match="pretraining"):
        write(tmp_path, **tuned)


def test_raw_pixels_have_no_seed(tmp_path):
    pixels = trust(write(tmp_path, "pixels", seed=6, checkpoint=None, arch="RawPixels"))
    assert pixels.seeds == Seeds(None, None)
