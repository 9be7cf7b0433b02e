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
    assert (pretrain["total_batch"], pretrain["lr"], pretrain["epochs"]) == (2048, 1.6e-3, 800)
    assert set(pretrain["groups"]) == {
        "lr x 1.000000, weight decay 0",
        "lr x 1.000000, weight decay 0.05",
    }
    finetune = TABLE["configs/cls/finetune_vitb.py"]
    assert (finetune["total_batch"], finetune["lr"], finetune["epochs"]) == (1024, 2e-3, 100)
    scales = {float(label.split()[2].rstrip(",")) for label in finetune["groups"]}
    assert scales == {round(0.65**depth, 6) for depth in range(14)}
    assert finetune["lr_at"]["1"] == pytest.approx(1e-6, rel=0.05)
    linear = TABLE["configs/cls/linear_vitb.py"]
    assert (linear["total_batch"], linear["lr"], linear["epochs"]) == (4096, 1.6, 90)
    assert linear["groups"] == {"lr x 1.000000, weight decay 0": 768 * 1000 + 1000}
    large = TABLE["configs/cls/finetune_vitl.py"]
    assert (large["lr"], large["epochs"]) == (4e-3, 50)
