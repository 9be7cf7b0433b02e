"""What an evaluation kept by image gives its metrics again, or is refused."""

from __future__ import annotations

import io
import json

import numpy as np
import pytest
from coco_scene import evaluate, scene
from result_files import write, write_right
from rich.console import Console

from semaim_mm.errors import InputError
from semaim_mm.interop.checkpoint_file import sha256_of
from semaim_mm.leaderboard import outcome_metrics
from semaim_mm.leaderboard.collect import trust
from semaim_mm.leaderboard.outcome_metrics import Outcomes, outcome_metric
from semaim_mm.leaderboard.write.board import by_content, write_leaderboard

RIGHT = np.array([True, False, True, True])
OF_IMAGES = dict(images="id", annotations="image_id")


def once(metric):
    return {k: v[0] for k, v in metric.values(np.ones((1, metric.n), int)).items()}


def coco_result(tmp_path, ids=None):
    """A COCO result, of the images ``ids`` alone or of all -> (result, the ground truth's file)."""
    truth, found = scene(0)
    shown = truth
    if ids is not None:
        found = [one for one in found if one["image_id"] in ids]
        kept = {k: [x for x in truth[k] if x[key] in ids] for k, key in OF_IMAGES.items()}
        shown = truth | kept
    whole = evaluate(shown, found)
    folder = tmp_path / "ours/seed0"
    folder.mkdir(parents=True)
    (tmp_path / "truth.json").write_text(json.dumps(truth))
    (folder / "predictions.bbox.json").write_text(json.dumps(found))
    path = write(
        tmp_path,
        metrics=dict(bbox_mAP=100 * whole.stats[0], bbox_mAP_s=100 * whole.stats[3]),
        outcomes=None if ids is None else dict(image_id=np.array(ids)),
        n_evaluated=12 if ids is None else len(ids),
        n_dataset=12 if ids is None else len(ids),
        run=dict(
            predictions=dict(
                bbox=dict(
                    file="predictions.bbox.json",
                    sha256=sha256_of(folder / "predictions.bbox.json"),
                )
            )
        ),
    )
    return trust(path), tmp_path / "truth.json"


@pytest.fixture
def coco(tmp_path):
    return coco_result(tmp_path)


def test_right_and_wrong_images_give_top1(tmp_path):
    metric = outcome_metric(trust(write_right(tmp_path, RIGHT)))
    assert (metric.n, once(metric)) == (4, {"top1": 75})


def test_pixels_by_image_and_class_give_miou(tmp_path):
    label = np.array([[6, 4], [10, 0]])
    hits = np.array([[3, 4], [8, 0]])
    union = np.array([[6, 7], [10, 2]])
    arrays = dict(intersection=hits, union=union, predicted=union - label + hits, label=label)
    scores = dict(mIoU=100 * (11 / 16 + 4 / 9) / 2, aAcc=75.0)
    metric = outcome_metric(trust(write(tmp_path, metrics=scores, outcomes=arrays)))
    assert once(metric)["mIoU"] == pytest.approx(scores["mIoU"])


def test_detections_give_ap_with_the_ground_truth_named_by_data_or_manifest(coco):
    result, truth = coco
    data = result.content["data"]
    for key in (data["name"], data["manifest_sha256"]):
        metric = outcome_metric(result, {key: truth})
        reported = result.content["metrics"]["bbox_mAP"]["value"]
        assert once(metric)["bbox_mAP"] == pytest.approx(reported, abs=1e-9)


def test_detections_on_a_part_of_the_test_set_are_resampled_on_that_part(tmp_path):
    ids = [image["id"] for image in scene(0)[0]["images"]][2:9]
    result, truth = coco_result(tmp_path, ids)
    metric = outcome_metric(result, {"toy": truth})
    assert metric.n == 7
    reported = result.content["metrics"]["bbox_mAP"]["value"]
    assert once(metric)["bbox_mAP"] == pytest.approx(reported, abs=1e-9)


def test_detections_without_their_ground_truth_are_told_what_is_missing(coco):
    with pytest.raises(InputError, match="needs the annotations of toy"):
        outcome_metric(coco[0])


def scored_against(result, truth, **stated):
    """The same result, its annotation file's SHA-256 recorded and further facts of that file."""
    content = result.content
    digest = sha256_of(truth)
    data = content["data"] | dict(annotations_sha256=digest)
    run = content["run"] | (dict(ground_truth=dict(sha256=digest, **stated)) if stated else {})
    return result._replace(content=content | dict(data=data, run=run))


def test_a_result_finds_its_own_ground_truth_from_its_folder(coco):
    result, truth = coco
    metric = outcome_metric(scored_against(result, truth, file="../../truth.json"))
    reported = result.content["metrics"]["bbox_mAP"]["value"]
    assert once(metric)["bbox_mAP"] == pytest.approx(reported, abs=1e-9)


def test_a_ground_truth_named_by_its_content_is_found_though_the_data_has_another_name(coco):
    result, truth = coco
    found = scored_against(result, truth)
    assert outcome_metric(found, {sha256_of(truth): truth}).n == 12
    with pytest.raises(InputError, match=f"{sha256_of(truth)[:16]}.*with --truth"):
        outcome_metric(found, {"0" * 64: truth})


def test_of_several_ground_truths_the_one_of_the_recorded_content_is_taken(coco, tmp_path):
    result, truth = coco
    other = tmp_path / "other.json"
    other.write_text("{}")
    found = scored_against(result, truth, file="../../truth.json")
    assert outcome_metric(found, {"toy": other}).n == 12


def test_a_table_outside_suites_takes_the_annotation_files_that_are_named(coco, tmp_path):
    result, truth = coco
    data = dict(name="toy", manifest_sha256=None, annotations_sha256=sha256_of(truth))
    told = {key: result.content[key] for key in ("metrics", "run", "n_evaluated", "n_dataset")}
    metrics = {name: metric["value"] for name, metric in told.pop("metrics").items()}
    write(tmp_path, metrics=metrics, data=data, **told)
    silent = Console(file=io.StringIO())
    for given in ([], [truth]):
        write_leaderboard(tmp_path / "ours", tmp_path / "board", silent, truth=given)
        found = json.loads((tmp_path / "board/leaderboard.json").read_text())
        cell = found["groups"][0]["rows"][0]["cells"]["bbox_mAP"]
        if not given:
            assert "needs the annotations of toy" in cell["no_images"]
    assert cell["over_images"]["low"] < cell["value"] < cell["over_images"]["high"]


def test_an_annotation_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(InputError, match=r"no annotation file at nowhere.json; mend --truth"):
        by_content(["nowhere.json"])


def test_a_ground_truth_changed_since_the_evaluation_gives_no_interval(coco):
    result, truth = coco
    found = scored_against(result, truth, file="../../truth.json")
    truth.write_text(truth.read_text() + " ")
    with pytest.raises(InputError, match="gone or was changed; name their file"):
        outcome_metric(found)


def test_edited_detections_are_refused(coco):
    result, truth = coco
    (result.path.parent / "predictions.bbox.json").write_text("[]")
    with pytest.raises(InputError, match="edited since the evaluation"):
        outcome_metric(result, {"toy": truth})


def test_the_ground_truth_of_other_images_is_refused(coco):
    result, truth = coco
    content = json.loads(truth.read_text())
    content["images"].append(dict(id=99, width=600, height=600))
    truth.write_text(json.dumps(content))
    with pytest.raises(InputError, match="has 13 images"):
        outcome_metric(result, {"toy": truth})


def test_another_ground_truth_of_the_same_images_does_not_give_the_reported_ap(coco):
    result, truth = coco
    content = json.loads(truth.read_text())
    content["annotations"] = content["annotations"][1:]
    truth.write_text(json.dumps(content))
    with pytest.raises(InputError, match="reports bbox_mAP .* don't belong together"):
        outcome_metric(result, {"toy": truth})


def test_outcomes_of_another_run_are_refused(tmp_path):
    path = write(tmp_path, score=75.0, outcomes=dict(correct=~RIGHT))
    with pytest.raises(InputError, match="reports top1 75.000000, but .* 25.000000"):
        outcome_metric(trust(path))


def test_outcomes_changed_since_are_refused_even_where_their_mean_is_the_same(tmp_path):
    path = write_right(tmp_path, RIGHT)
    np.savez(path.with_name("outcomes.npz"), correct=RIGHT[::-1])
    with pytest.raises(InputError, match="was changed after it was written"):
        outcome_metric(trust(path))


@pytest.mark.parametrize("name", ["iou", "ap", "correct"])
def test_the_mean_of_a_value_by_image_is_refused(tmp_path, name):
    path = write(tmp_path, outcomes={name: np.array([0.1, 0.9, 0.4, 0.6])})
    with pytest.raises(InputError, match=f"kept {name} by image.*not the data set's metric"):
        outcome_metric(trust(path))


def test_a_result_that_kept_nothing_by_image_says_so(tmp_path):
    with pytest.raises(InputError, match="kept nothing by image"):
        outcome_metric(trust(write(tmp_path)))


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 cut off", b"no archive"])
def test_a_broken_outcome_file_is_named(tmp_path, content):
    path = write_right(tmp_path, RIGHT)
    path.with_name("outcomes.npz").write_bytes(content)
    with pytest.raises(InputError, match="outcomes.npz is not readable"):
        outcome_metric(trust(path))


def test_outcomes_of_fewer_images_are_named(tmp_path, monkeypatch):
    path = write_right(tmp_path, RIGHT)
    np.savez(path.with_name("outcomes.npz"), correct=RIGHT[:3])
    stated = trust(path).content["outcomes_sha256"]
    monkeypatch.setattr(outcome_metrics, "sha256_of", lambda file: stated)
    with pytest.raises(InputError, match="correct has 3 entries for 4 images"):
        outcome_metric(trust(path))


def test_outcomes_are_read_once_and_a_fault_is_told_each_time(tmp_path):
    outcomes, good = Outcomes(), trust(write_right(tmp_path, RIGHT))
    assert outcomes(good) is outcomes(good)
    bad = trust(write(tmp_path, "bad"))
    for _ in range(2):
        with pytest.raises(InputError, match="kept nothing"):
            outcomes(bad)
