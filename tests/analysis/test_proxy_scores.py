"""Which scores meet in a correlation: probes count as cheap, pretrainings stay apart."""

from __future__ import annotations

from pathlib import Path

import pytest
from boards import write_knn_and_coco
from mmengine.registry import init_default_scope
from result_files import finetuned, weights, write
from test_proxy import PIXELS, pairs_of, write_suite

from semaim_mm.analysis.proxy import pairs, proxy_validity
from semaim_mm.arch import arch_name
from semaim_mm.leaderboard.table import leaderboard
from semaim_mm.runtime.launch import load_config
from semaim_mm.runtime.protocol import protocol_of, training_of
from semaim_mm.runtime.spread import spread_keys

ROOT = Path(__file__).resolve().parents[2]
LINEAR, FINETUNE = "configs/cls/linear_vitb.py", "configs/cls/finetune_vitb.py"
FROZEN = "model.backbone.frozen_stages"
LARGE = {"model.backbone.arch": "large"}
COCO = dict(task="coco", evaluator=dict(type="SampleCoco"), training=None)


def write_trained(root, leaf, options, task="trained"):
    """Results as if this leaf had been trained from each pretraining of ``write_knn_and_coco``."""
    cfg = load_config(ROOT / leaf, options)
    init_default_scope(cfg.default_scope)
    spread_keys(cfg)
    protocol = protocol_of(cfg, trained_by=training_of(cfg), selection="last epoch")
    for number in range(4):
        changes = finetuned(f"m{number}", 0, 0) | dict(task=task, protocol=protocol)
        write(root, **changes, score=10.0 * number, arch=arch_name(cfg.model.backbone))


@pytest.mark.parametrize(
    ("leaf", "options", "cheap"),
    [
        (LINEAR, {}, True),
        ("configs/cls/linear_vitl.py", {}, True),
        ("configs/cls/linear_tiny.py", {}, True),
        (LINEAR, {FROZEN: 11}, False),
        (LINEAR, LARGE, False),
        (FINETUNE, {}, False),
        (FINETUNE, {FROZEN: 0}, False),
        (FINETUNE, {FROZEN: 6}, False),
    ],
    ids=str,
)
def test_a_training_is_cheap_where_it_freezes_all_blocks(tmp_path, leaf, options, cheap):
    write_knn_and_coco(tmp_path, methods=4, seeds=1)
    write_trained(tmp_path, leaf, options)
    names = {pair.names for pair in pairs(leaderboard(tmp_path, resamples=0))}
    assert (("trained", "coco") in names) is cheap and ("knn", "coco") in names


def write_variant(root, method, score, name, epochs=5, seed=0, **changes):
    """k-NN and detection of one more pretraining, told apart by its epochs."""
    start = weights(f"{method} {name} {seed}", seed)
    start["origin"]["budget"] = dict(epochs=epochs, images=40)
    place = f"{method}-{name}/seed{seed}"
    given = dict(checkpoint=start, seed=seed) | changes
    write(root, method, score=score, folder=f"{place}/knn", **given)
    write(
        root, method, folder=f"{place}/coco", task="coco", metrics=dict(bbox_mAP=score),
        protocol=COCO, **given,
    )  # fmt: skip


def test_pretrainings_of_one_method_are_points_of_their_own(tmp_path):
    write_knn_and_coco(tmp_path, methods=4, seeds=1)  # of 5 epochs each
    write_variant(tmp_path, "m3", 90.0, "long", epochs=400)
    write_variant(tmp_path, "m2", 70.0, "large", arch="ViT-large/16")
    values = {pair.names: pair.values for pair in pairs(leaderboard(tmp_path, resamples=0))}
    assert values["knn", "coco"] == {
        "m0": (0.0, 0.0),
        "m1": (10.0, 5.0),
        "m2, ViT-base/16": (20.0, 10.0),
        "m2, ViT-large/16": (70.0, 70.0),
        "m3, 5 epochs": (30.0, 15.0),
        "m3, 400 epochs": (90.0, 90.0),
    }


def test_one_task_alone_with_a_variant_does_not_lend_it_the_others_score(tmp_path):
    write_knn_and_coco(tmp_path, methods=4, seeds=1)
    start = weights("m0 long", 0)
    start["origin"]["budget"] = dict(epochs=400, images=40)
    write(tmp_path, "m0", score=90.0, checkpoint=start, folder="long/knn")
    (found,) = (p for p in pairs(leaderboard(tmp_path, resamples=0)) if p.names[0] == "knn")
    assert found.values["m0, 5 epochs"] == (0.0, 0.0)
    assert "m0, 400 epochs" in found.cheap and len(found.values) == 4


def test_finetunings_chosen_otherwise_are_of_one_pretraining(tmp_path):
    write_knn_and_coco(tmp_path, methods=4, seeds=1)
    tuned = finetuned("m0", 0, 1, selection="best on val", metrics=dict(bbox_mAP=8.0))
    write(tmp_path, **tuned | dict(task="coco", protocol=COCO))
    (found,) = (p for p in pairs(leaderboard(tmp_path, resamples=0)) if p.names[0] == "knn")
    assert found.values["m0"] == (0.0, 4.0)


@pytest.mark.parametrize("task", ["knn", "coco"])
def test_a_row_that_is_not_ranked_is_left_out_by_name(tmp_path, task):
    write_knn_and_coco(tmp_path, seeds=1)
    again = dict(task="coco", metrics=dict(bbox_mAP=90.0), protocol=COCO) if task == "coco" else {}
    other = weights("m1 another", 0)  # the same seed again, of other weights
    write(tmp_path, "m1", score=90.0, checkpoint=other, folder="m1/again", **again)
    board = leaderboard(tmp_path, resamples=0)
    assert [row.method for group in board.groups for row in group.rows if row.doubt] == ["m1"]
    compared = {pair.names: pair for pair in pairs(board)}
    found = compared["knn", "coco"]
    assert list(found.values) == ["m0", "m2", "m3", "m4"]
    assert found.note == f"Left out of {task}, which does not rank them: m1"
    said = proxy_validity(list(compared.values()))
    assert said["knn -> coco"].value == pytest.approx(1)
    assert said["knn -> coco"].note.endswith(found.note)
    assert ("m1" in said["pretraining loss -> coco"]) is (task == "coco")


def test_a_loss_of_a_method_with_several_pretrainings_is_left_out_by_name(tmp_path):
    write_suite(tmp_path, [PIXELS] * 5, [5.0, 4.0, 3.0, 2.0, 1.0])
    before = {pair.names: pair for pair in pairs_of(tmp_path)}["pretraining loss", "coco"]
    assert len(before.values) == 5 and "Left out" not in before.note
    write_variant(tmp_path, "m3", 90.0, "long", epochs=400)
    found = {pair.names: pair for pair in pairs_of(tmp_path)}["pretraining loss", "coco"]
    assert list(found.values) == ["m0", "m1", "m2", "m4"]
    assert found.note.endswith("several pretrainings may have had that loss: m3")


def test_a_patch_size_that_a_task_resizes_makes_no_other_pretraining(tmp_path):
    for number in range(5):
        write(tmp_path, f"m{number}", 0, 10.0 * number, folder=f"m{number}/knn", arch="ViT-base/14")
        write(
            tmp_path, f"m{number}", 0, folder=f"m{number}/coco", task="coco", arch="ViT-base/16",
            metrics=dict(bbox_mAP=5.0 * number), protocol=COCO,
        )  # fmt: skip
    pair = {p.names: p for p in pairs(leaderboard(tmp_path, resamples=0))}["knn", "coco"]
    assert len(pair.values) == 5 and pair.note is None
    assert proxy_validity([pair])[pair.name].value == pytest.approx(1)


def test_pretrainings_with_one_score_each_are_named(tmp_path):
    write_knn_and_coco(tmp_path, methods=4, seeds=1)
    write(tmp_path, "other", 0, 50.0, folder="other/knn", arch="ViT-base/16")
    write(
        tmp_path, "other", 0, folder="other/coco", task="coco", arch="ViT-large/16",
        metrics=dict(bbox_mAP=50.0), protocol=COCO,
    )  # fmt: skip
    pair = {p.names: p for p in pairs(leaderboard(tmp_path, resamples=0))}["knn", "coco"]
    assert list(pair.values) == ["m0", "m1", "m2", "m3"]
    assert "without both scores: other, ViT-base/16; other, ViT-large/16" in pair.note
