"""Every full-size leaf resolves to what the committed table says: nothing drifts unseen."""

import json

import pytest
from leaf_facts import ROOT, full_size_leaves, leaf_facts

TABLE = json.loads((ROOT / "tests" / "fixtures" / "leaf_table.json").read_text())


def test_the_table_has_every_leaf_and_no_other():
    assert sorted(TABLE) == sorted(full_size_leaves())


@pytest.mark.parametrize("name", full_size_leaves())
def test_groups_schedule_and_pipeline_are_those_of_the_table(name):
    assert json.loads(json.dumps(leaf_facts(name))) == TABLE[name]


def test_the_recipes_numbers_stand_in_the_table():
    """The anchors of the table itself, from the authors' README."""
    pretrain = TABLE["configs/pretrain/semaim_vitb.py"]
    assert (pretrain["total_batch"], pretrain["lr"], pretrain["max_epochs"]) == (2048, 1.6e-3, 800)
    assert set(pretrain["groups"]) == {
        "lr x 1.000000, weight decay 0",
        "lr x 1.000000, weight decay 0.05",
    }
    finetune = TABLE["configs/cls/finetune_vitb.py"]
    assert (finetune["total_batch"], finetune["lr"], finetune["max_epochs"]) == (1024, 2e-3, 100)
    scales = {float(label.split()[2].rstrip(",")) for label in finetune["groups"]}
    assert scales == {round(0.65**depth, 6) for depth in range(14)}
    assert finetune["lr_at"]["1"] == pytest.approx(1e-6, rel=0.05)
    linear = TABLE["configs/cls/linear_vitb.py"]
    assert (linear["total_batch"], linear["lr"], linear["max_epochs"]) == (4096, 1.6, 90)
    assert linear["groups"] == {"lr x 1.000000, weight decay 0": 768 * 1000 + 1000}
    large = TABLE["configs/cls/finetune_vitl.py"]
    assert (large["lr"], large["max_epochs"]) == (4e-3, 50)


def test_the_numbers_of_detection_and_segmentation_stand_in_the_table():
    """From arXiv 2111.11429, detectron2's ViTDet configs and MAE's appendix A.4."""
    shared = TABLE["configs/det/mask-rcnn_semaim-vitb_benchmarking-100ep_coco.py"]
    assert (shared["total_batch"], shared["lr"], shared["max_iters"]) == (64, 8e-5, 184375)
    assert set(shared["groups"]) == {
        "lr x 1.000000, weight decay 0",
        "lr x 1.000000, weight decay 0.1",
    }
    assert shared["lr_at"]["1"] < 1e-9 and shared["lr_at"]["0.5"] == pytest.approx(4e-5, rel=0.01)
    for name, rate, depth in (("vitb", 0.7, 12), ("vitl", 0.8, 24)):
        leaf = TABLE[f"configs/det/mask-rcnn_semaim-{name}_vitdet-100ep_coco.py"]
        assert (leaf["lr"], leaf["lr_at"]["0.5"], leaf["lr_at"]["1"]) == (1e-4, 1e-4, 1e-6)
        scales = {float(label.split()[2].rstrip(",")) for label in leaf["groups"]}
        assert scales == {round(rate**block, 6) for block in range(depth + 2)}
    upernet = TABLE["configs/seg/upernet_semaim-vitb_160k_ade20k-512x512.py"]
    assert (upernet["total_batch"], upernet["lr"], upernet["max_iters"]) == (16, 1e-4, 160000)
    assert upernet["lr_at"]["0.5"] == pytest.approx(5e-5, rel=0.01)
    scales = {float(label.split()[2].rstrip(",")) for label in upernet["groups"]}
    assert scales == {round(0.65**block, 6) for block in range(14)}
    linear = TABLE["configs/seg/linear_semaim-vitb_40k_ade20k-512x512.py"]
    assert sum(linear["groups"].values()) == 2 * 768 + 768 * 150 + 150
