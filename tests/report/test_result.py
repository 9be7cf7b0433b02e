"""Result files: written whole, read only if they can be trusted."""

import json
import math
import os
from pathlib import Path

import numpy as np
import pytest

from semaim_mm.errors import InputError
from semaim_mm.report.result import (
    canonical,
    fingerprint,
    read_result,
    sha256_text,
    write_result,
)


def example(**changes) -> dict:
    result = dict(
        status="complete",
        method="semaim",
        arch="ViT-base/16",
        task="knn",
        metrics=dict(top1=dict(value=50.0, unit="percent")),
        n_evaluated=4,
        n_dataset=4,
        protocol=dict(task="knn", pooling="patches"),
        selection="last epoch",
        seed=0,
        config_hash="0" * 64,
        git=dict(commit=None, dirty=None),
        checkpoint=None,
        data=dict(name="toy", manifest_sha256=None),
        versions=dict(torch="2.11.0"),
        hardware=dict(device="cpu", world_size=1),
        run={},
        start="2026-01-01T00:00:00+00:00",
        end="2026-01-01T00:00:01+00:00",
    )
    return {**result, **changes}


def forge(path: Path, content: dict) -> None:
    """Write a result whose digest fits what it says."""
    content = {key: value for key, value in content.items() if key != "digest"}
    path.write_text(json.dumps(content | dict(digest=sha256_text(canonical(content)))))


def test_a_result_comes_back_as_written_with_its_outcomes(tmp_path):
    correct = np.array([True, False, True, False])
    path = write_result(tmp_path, example(), dict(correct=correct))
    result = read_result(path)
    assert result["metrics"]["top1"]["value"] == 50.0
    assert np.load(tmp_path / result["outcomes"])["correct"].tolist() == correct.tolist()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["outcomes.npz", "result.json"]


def test_an_edited_result_is_not_read(tmp_path):
    path = write_result(tmp_path, example(), None)
    text = path.read_text()
    path.write_text(text.replace("50.0", "51.0"))
    with pytest.raises(InputError, match="edited"):
        read_result(path)


@pytest.mark.parametrize("key", ["metrics", "protocol", "checkpoint", "n_dataset"])
def test_a_result_without_a_field_is_neither_written_nor_read(tmp_path, key):
    incomplete = example()
    del incomplete[key]
    with pytest.raises((InputError, KeyError)):
        write_result(tmp_path, incomplete, None)
    assert not (tmp_path / "result.json").exists()


def test_a_nan_metric_is_not_written(tmp_path):
    metrics = dict(top1=dict(value=math.nan, unit="percent"))
    with pytest.raises(InputError, match="top1 that is nan"):
        write_result(tmp_path, example(metrics=metrics), None)


@pytest.mark.parametrize("value", [1e9, -5.0, 100.001])
def test_a_percentage_lies_between_0_and_100(tmp_path, value):
    metrics = dict(top1=dict(value=value, unit="percent"))
    with pytest.raises(InputError, match="top1 of .* percent, where 0 to 100"):
        write_result(tmp_path, example(metrics=metrics), None)
    assert list(tmp_path.iterdir()) == []


def test_what_is_no_percentage_has_no_bounds_and_a_percentage_a_rounding_error(tmp_path):
    metrics = dict(
        loss=dict(value=250.0, unit="nats"), top1=dict(value=100.00000000000001, unit="percent")
    )
    found = read_result(write_result(tmp_path, example(metrics=metrics), None))["metrics"]
    assert found == metrics


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda c: c.pop("outcomes_sha256"), "required"),
        (lambda c: c.update(outcomes_sha256=None), "None is not"),
    ],
)
def test_outcomes_without_their_hash_are_refused(tmp_path, change, words):
    path = write_result(tmp_path, example(), dict(correct=np.ones(4, bool)))
    content = json.loads(path.read_text())
    change(content)
    forge(path, content)
    with pytest.raises(InputError, match=words):
        read_result(path)


def test_a_result_without_outcomes_needs_no_hash_of_them(tmp_path):
    path = write_result(tmp_path, example(), None)
    content = json.loads(path.read_text())
    del content["outcomes_sha256"]
    forge(path, content)
    assert read_result(path)["outcomes"] is None


def test_a_complete_result_has_evaluated_every_image(tmp_path):
    with pytest.raises(InputError, match="3 of 4"):
        write_result(tmp_path, example(n_evaluated=3), None)


def test_outcomes_that_do_not_cover_the_images_are_refused(tmp_path):
    with pytest.raises(InputError, match="3 entries for 4"):
        write_result(tmp_path, example(), dict(correct=np.ones(3, bool)))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (dict(metrics=dict(top1=dict(value=math.nan, unit="percent"))), "top1 that is nan"),
        (dict(n_evaluated=3), "3 of 4"),
    ],
)
def test_a_refused_result_leaves_both_files_of_the_earlier_run(tmp_path, changes, words):
    write_result(tmp_path, example(), dict(correct=np.ones(4, bool)))
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    n = changes.get("n_evaluated", 4)
    with pytest.raises(InputError, match=words):
        write_result(tmp_path, example(**changes), dict(correct=np.zeros(n, bool)))
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_the_outcomes_are_there_before_the_result_that_names_them(tmp_path, monkeypatch):
    renamed = []
    rename = os.replace
    monkeypatch.setattr(
        os, "replace", lambda old, new: renamed.append(Path(new).name) or rename(old, new)
    )
    write_result(tmp_path, example(), dict(correct=np.ones(4, bool)))
    assert renamed == ["outcomes.npz", "result.json"]


def test_an_unknown_major_version_is_not_read(tmp_path):
    path = write_result(tmp_path, example(), None)
    result = json.loads(path.read_text()) | dict(schema_version="2.0")
    path.write_text(json.dumps(result))
    with pytest.raises(InputError, match=r"schema 2\.0"):
        read_result(path)


def test_the_fingerprint_tells_protocols_apart_and_nothing_else():
    one = fingerprint(dict(task="knn", pooling="patches"))
    assert one == fingerprint(dict(pooling="patches", task="knn"))
    assert one != fingerprint(dict(task="knn", pooling="cls"))


def test_a_fingerprint_that_is_not_the_protocols_is_not_read(tmp_path):
    path = write_result(tmp_path, example(), None)
    forge(path, json.loads(path.read_text()) | dict(fingerprint="0" * 16))
    with pytest.raises(InputError, match=r"states the fingerprint 0{16}, and its protocol's is"):
        read_result(path)


def test_a_protocol_of_any_kind_of_value_is_read_back(tmp_path):
    protocol = dict(end=math.inf, betas=(0.9, 0.95), lr=1e-05, sizes={1: None, 2: Path("a")})
    found = read_result(write_result(tmp_path, example(protocol=protocol), None))["protocol"]
    assert (found["betas"], found["lr"]) == ([0.9, 0.95], 1e-05)
    assert found["sizes"] == {"1": None, "2": "a"} and found["end"] == "inf"


def test_any_parser_of_json_reads_a_result(tmp_path):
    run = dict(chosen=dict(loss=math.nan), betas=[-math.inf, np.float32("inf")])
    path = write_result(tmp_path, example(run=run, protocol=dict(end=math.inf)), None)

    def refuse(word):
        raise ValueError(f"{word} is no JSON")

    found = json.loads(path.read_text(), parse_constant=refuse)
    assert found["run"] == dict(chosen=dict(loss="nan"), betas=["-inf", "inf"])
    assert read_result(path) == found


def test_an_infinite_number_is_another_protocol_than_none(tmp_path):
    ends = [math.inf, -math.inf, math.nan, None, 1.0]
    found = set()
    for end in ends:
        path = write_result(tmp_path, example(protocol=dict(end=end)), None)
        found.add(read_result(path)["fingerprint"])
    assert len(found) == len(ends)


def test_a_result_of_before_with_bare_infinities_is_read(tmp_path):
    protocol = dict(end=math.inf)
    path = write_result(tmp_path, example(protocol=protocol), None)
    content = json.loads(path.read_text()) | dict(protocol=protocol, run=dict(loss=math.inf))
    forge(path, content | dict(fingerprint=sha256_text('{"end":Infinity}')[:16]))
    assert "Infinity" in path.read_text()
    assert read_result(path)["protocol"] == protocol


def test_the_history_is_read_off_the_checkpoints_and_typed(tmp_path):
    started = dict(
        file="pre.pth",
        sha256="b" * 64,
        coverage=None,
        origin=dict(
            budget=dict(epochs=5, images=40, flops=1e9, device_hours=0.5),
            training=dict(total_batch=16, batch_norm_batch=16, precision="bf16", world_size=2),
            resumes=1,
        ),
    )
    tuned = dict(total_batch=8, batch_norm_batch=None, precision="fp32", max_iters=150)
    checkpoint = dict(
        file="iter_150.pth",
        sha256="a" * 64,
        coverage=None,
        origin=dict(training=tuned, resumes=2),
        started_from=started,
    )
    changes = dict(checkpoint=checkpoint, protocol=dict(training=dict(lr=1)))
    result = read_result(write_result(tmp_path, example(**changes), None))
    assert result["pretraining"] == dict(
        sha256="b" * 64,
        resumes=1,
        total_batch=16,
        batch_norm_batch=16,
        precision="bf16",
        world_size=2,
        epochs=5,
        images=40,
        flops=1e9,
        device_hours=0.5,
    )
    assert result["training"] == dict(
        sha256="a" * 64,
        resumes=2,
        total_batch=8,
        batch_norm_batch=None,
        precision="fp32",
        world_size=None,
        epochs=None,
        updates=150,
    )
    started["origin"]["budget"]["flops"] = "many"
    again = read_result(write_result(tmp_path / "again", example(**changes), None))
    assert again["pretraining"]["flops"] is None
    tuned["total_batch"] = 7.5
    with pytest.raises(InputError, match="training/total_batch"):
        write_result(tmp_path / "broken", example(**changes), None)
