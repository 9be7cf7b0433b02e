"""The leaderboard's data: groups by protocol, ranks inside them, everything else beside them."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest
from result_files import MANIFEST, finetuned, weights, write, write_right

from semaim_mm.data.prepare.overlap import Overlap
from semaim_mm.errors import InputError
from semaim_mm.leaderboard.model import Absent, as_json
from semaim_mm.leaderboard.table import BOTH_SPREADS, DIRTY, leaderboard, rank


def the_group(root, **kwargs):
    board = leaderboard(root, resamples=0, **kwargs)
    assert len(board.groups) == 1
    return board.groups[0]


def the_row(root, **kwargs):
    group = the_group(root, **kwargs)
    assert len(group.rows) == 1
    return group.rows[0]


def test_a_row_is_a_method_and_its_cell_the_mean_over_seeds(tmp_path):
    for seed, score in enumerate([60.0, 62.0, 61.0]):
        write(tmp_path, seed=seed, score=score)
    row = the_row(tmp_path)
    cell = row.cells["top1"]
    assert (row.method, row.arch, row.epochs, row.rank) == ("ours", "ViT-base/16", 5, 1)
    assert (cell.value, cell.unit, cell.over_pretraining.n) == (61.0, "percent", 3)
    assert not row.single and row.kind == "measured"


def test_rows_are_ranked_by_the_headline_and_equal_scores_share_a_rank(tmp_path):
    for method, score in (("a", 50.0), ("b", 70.0), ("c", 50.0), ("d", 40.0)):
        write(tmp_path, method, metrics={"top1": score, "a_top1_k10": 100 - score})
    group = the_group(tmp_path)
    assert group.headline == "top1" and list(group.metrics) == ["top1", "a_top1_k10"]
    assert [(row.method, row.rank) for row in group.rows] == [
        ("b", 1),
        ("a", 2),
        ("c", 2),
        ("d", 4),
    ]


@pytest.mark.parametrize(
    ("metrics", "headline"),
    [
        (dict(mAcc=1.0, mIoU=2.0, aAcc=3.0), "mIoU"),
        (dict(segm_mAP=1.0, bbox_mAP_50=2.0, bbox_mAP=3.0), "bbox_mAP"),
        (dict(zebra=1.0, apple=2.0), "apple"),
    ],
)
def test_the_headline_is_the_metric_that_a_task_is_read_by(tmp_path, metrics, headline):
    write(tmp_path, metrics=metrics)
    assert the_group(tmp_path).headline == headline


def test_protocols_and_data_sets_have_groups_of_their_own(tmp_path):
    write(tmp_path, "a")
    write(tmp_path, "b", protocol=dict(task="knn", pooling="cls"))
    write(tmp_path, "c", data=dict(name="toy", manifest_sha256="b" * 64))
    write(tmp_path, "d", data=dict(name="other", manifest_sha256=None))
    board = leaderboard(tmp_path, resamples=0)
    assert sorted(len(group.rows) for group in board.groups) == [1, 1, 1, 1]
    assert all(row.rank == 1 for group in board.groups for row in group.rows)


def test_rows_of_several_protocols_or_data_sets_are_not_ranked_together(tmp_path):
    write(tmp_path)
    row = the_row(tmp_path)
    for other in (replace(row, fingerprint="f" * 16), replace(row, data="b" * 64)):
        with pytest.raises(InputError, match="2 protocols or data sets .* can't be ranked"):
            rank([row, other], "top1")


def test_checkpoints_of_other_epochs_selections_and_sizes_are_rows_of_their_own(tmp_path):
    early = weights("early", 0)
    early["origin"]["budget"]["epochs"] = 1
    write(tmp_path)
    write(tmp_path, folder="b", checkpoint=early)
    write(tmp_path, folder="c", selection="epoch 3 of 5", checkpoint=weights("c", 0))
    write(tmp_path, folder="d", arch="ViT-large/16")
    group = the_group(tmp_path)
    assert len({(row.epochs, row.selection, row.arch) for row in group.rows}) == 4


def test_one_pretraining_is_marked(tmp_path):
    write(tmp_path)
    row = the_row(tmp_path)
    assert row.single
    assert row.cells["top1"].over_pretraining.note.startswith("n = 1")


def test_pretraining_and_finetuning_seeds_are_never_pooled(tmp_path):
    scores = {(0, 0): 80.0, (0, 1): 82.0, (1, 0): 90.0, (2, 0): 70.0, (2, 1): 70.5, (2, 2): 71.0}
    for (pretraining, fitting), score in scores.items():
        write(tmp_path, score=score, **finetuned("m", pretraining, fitting))
    cell = the_row(tmp_path).cells["top1"]
    assert cell.value == pytest.approx((81 + 90 + 70.5) / 3)
    assert cell.over_pretraining.sd == pytest.approx(np.std([81, 90, 70.5], ddof=1))
    assert cell.over_pretraining.n == 3
    told = {interval.over: (interval.n, interval.value) for interval in cell.over_fitting}
    assert told == {
        "over finetuning seeds, one pretraining (seed 0)": (2, 81.0),
        "over finetuning seeds, one pretraining (seed 2)": (3, 70.5),
    }


def test_many_finetunings_of_one_pretraining_say_nothing_of_pretraining_seeds(tmp_path):
    for fitting in range(3):
        write(tmp_path, score=80.0 + fitting, **finetuned("m", 0, fitting))
    row = the_row(tmp_path)
    cell = row.cells["top1"]
    assert row.single and cell.over_pretraining.low is None
    assert cell.over_fitting[0].n == 3


def test_one_finetuning_a_pretraining_is_said_to_have_both_spreads(tmp_path):
    for seed in range(3):
        write(tmp_path, score=80.0 + seed, **finetuned("m", seed, seed))
    row = the_row(tmp_path)
    assert BOTH_SPREADS in row.notes
    over = row.cells["top1"].over_pretraining.over
    assert over == "over pretraining seeds, each with its own finetuning"


def test_one_probe_a_pretraining_is_called_a_probe(tmp_path):
    protocol = dict(task="linear", evaluator=dict(type="LinearProbe"), training=None)
    for seed in range(3):
        write(tmp_path, "m", seed, 80.0 + seed, protocol=protocol)
    assert BOTH_SPREADS.replace("finetuning", "probe") in the_row(tmp_path).notes


def test_images_are_resampled_for_the_mean_over_seeds(tmp_path):
    random = np.random.default_rng(0)
    right = random.random((2, 400)) < 0.6
    for seed, correct in enumerate(right):
        write_right(tmp_path, correct, seed=seed)
    cell = leaderboard(tmp_path).groups[0].rows[0].cells["top1"]
    expected = 100 * right.mean(0).std() / math.sqrt(400)
    assert cell.over_images.sd == pytest.approx(expected, rel=0.06)
    assert cell.over_images.value == pytest.approx(cell.value)
    assert (cell.over_images.over, cell.over_pretraining.over) == (
        "over test images, these weights",
        "over pretraining seeds",
    )


def test_an_interval_over_images_stays_between_0_and_100(tmp_path):
    correct = np.arange(40) > 0
    write_right(tmp_path, correct)
    write_right(tmp_path, ~correct, method="b")
    found = [row.cells["top1"].over_images for row in leaderboard(tmp_path).groups[0].rows]
    assert (found[0].high, found[1].low) == (100, 0)


def test_a_pretraining_counts_once_over_images_too_however_often_it_was_finetuned(tmp_path):
    random = np.random.default_rng(0)
    for pretraining, fitting, share in ((0, 0, 0.9), (0, 1, 0.9), (0, 2, 0.9), (1, 0, 0.1)):
        correct = random.random(300) < share
        write_right(tmp_path, correct, **finetuned("m", pretraining, fitting))
    cell = leaderboard(tmp_path).groups[0].rows[0].cells["top1"]
    assert cell.value == pytest.approx(50, abs=3)
    assert cell.over_images.value == pytest.approx(cell.value)


def test_a_cell_without_an_interval_over_images_says_why(tmp_path):
    correct = np.array([True, False, True, True])
    write(tmp_path, metrics=dict(top1=75.0, top5=100.0), outcomes=dict(correct=correct))
    write(tmp_path, "b", metrics=dict(top1=75.0, top5=100.0))
    board = leaderboard(tmp_path)
    cells = {row.method: row.cells for row in board.groups[0].rows}
    assert cells["ours"]["top1"].no_images is None
    assert cells["ours"]["top5"].no_images == "what was kept by image does not give top5"
    assert "kept nothing by image" in cells["b"]["top1"].no_images


def test_seeds_are_not_resampled_together_where_no_manifest_vouches_for_their_images(tmp_path):
    for seed in (0, 1):
        data = dict(name="toy", manifest_sha256=None)
        write_right(tmp_path, np.array([True, False]), seed=seed, data=data)
    cell = leaderboard(tmp_path).groups[0].rows[0].cells["top1"]
    assert cell.over_images is None and "toy has no manifest" in cell.no_images


def test_a_run_has_all_that_a_cell_opens(tmp_path):
    path = write(tmp_path, git=dict(commit="c" * 40, dirty=True), run=dict(command="run me"))
    log = path.parent / "20260101_000000/20260101_000000.log"
    log.parent.mkdir()
    log.write_text("")
    row = the_row(tmp_path)
    run = row.runs[0]
    assert run.path == "ours/seed0/result.json"
    assert run.log == "ours/seed0/20260101_000000/20260101_000000.log"
    assert (run.command, run.pretraining_seed, run.fitting_seed) == ("run me", 0, None)
    assert run.checkpoint_sha256 == run.pretrained_sha256 == weights("ours 0")["sha256"]
    assert run.budget == dict(epochs=5, images=40, flops=None, device_hours=None)
    assert run.coverage == dict(matched=52, new=1, unused=0, changed=0)
    assert DIRTY in row.notes


@pytest.mark.parametrize("which", ["trained", "pretrained"])
def test_weights_of_uncommitted_source_are_told_of_a_clean_evaluation(tmp_path, which):
    changes = finetuned("ours", 0, 0)
    record = changes["checkpoint"] if which == "trained" else changes["checkpoint"]["started_from"]
    for dirty in (False, True):
        record["origin"]["source"] = dict(commit="c" * 40, dirty=dirty)
        write(tmp_path, **changes)
        assert (DIRTY in the_row(tmp_path).notes) is dirty


def test_a_suites_record_gives_command_and_log(tmp_path):
    folder = write(tmp_path).parent
    (folder / "log.txt").write_text("")
    record = dict(command="python tools/test.py", log="/elsewhere/log.txt")
    (folder / "stage.json").write_text(json.dumps(record))
    run = the_row(tmp_path).runs[0]
    assert (run.command, run.log) == ("python tools/test.py", "ours/seed0/log.txt")


def test_published_absent_and_excluded_stand_beside_the_groups(tmp_path):
    write(tmp_path)
    write(tmp_path, "bad", status="failed")
    failed = Absent("theirs", "knn", 0, kind="failed", log="theirs/log.txt")
    board = leaderboard(tmp_path, absent=[failed], resamples=0)
    assert [row.method for group in board.groups for row in group.rows] == ["ours"]
    assert board.absent == (failed,) and board.published
    assert [(item.path, item.kind) for item in board.excluded] == [
        ("bad/seed0/result.json", "excluded")
    ]


def test_declared_comparisons_come_with_the_table(tmp_path):
    write(tmp_path, "a")
    write(tmp_path, "b")
    board = leaderboard(tmp_path, declared=[("a", "b")], resamples=0)
    assert [d.verdict for d in board.comparisons] == [
        "a is +0.00 from b with one seed: nothing is tested."
    ]


def test_all_of_it_is_strict_json_whatever_a_protocol_holds(tmp_path):
    name = '<script>alert(1)</script>|=cmd\n"é'
    protocol = dict(task="knn", clip=math.inf, none=None, evaluator=dict(type="KNN"))
    run = dict(decided_by=dict(pooling="cls"), chosen=dict(rate=math.nan))
    write(tmp_path, name, folder="x", protocol=protocol, run=run)
    found = as_json(leaderboard(tmp_path, resamples=0))
    again = json.loads(json.dumps(found, allow_nan=False))
    group = again["groups"][0]
    assert group["rows"][0]["method"] == name
    assert group["protocol"]["clip"] == "inf" and group["decided_by"] == dict(pooling="cls")
    assert group["manifest"] == MANIFEST and again["schema_version"] == "1.0"


def test_an_empty_folder_is_an_empty_table(tmp_path):
    board = leaderboard(tmp_path)
    assert board.groups == board.excluded == board.comparisons == ()


def test_rows_are_told_of_test_images_that_their_pretraining_has_seen(tmp_path):
    seen = dict(name="toy", folder="toy", manifest_sha256=MANIFEST)
    start = weights("ours 0", 0)
    start["origin"]["data"] = dict(name="web", folder="web", manifest_sha256="b" * 64)
    write(tmp_path, checkpoint=start, data=seen)
    write(tmp_path, method="theirs", data=seen)
    overlap = Overlap(
        dict(name="web", folder="web", manifest_sha256="b" * 64, images=100),
        dict(name="toy", folder="toy", manifest_sha256=MANIFEST, images=4),
        shared=2,
        pairs=2,
        path=tmp_path,
    )
    notes = {
        row.method: " ".join(row.notes)
        for row in leaderboard(tmp_path, overlaps=[overlap]).groups[0].rows
    }
    assert "2 of 4 test images" in notes["ours"]
    assert "its pretraining data is not recorded" in notes["theirs"]
    silent = leaderboard(tmp_path).groups[0].rows
    assert not any("test images" in note for row in silent for note in row.notes)
