"""Anchors: each a thin leaf of a real protocol with a figure and its source, or a reason."""

from __future__ import annotations

import runpy
import sys
from functools import cache
from pathlib import Path

import pytest
from leaf_facts import full_size_leaves
from mmengine.config import Config

from semaim_mm.report.anchors import Anchor, load_anchors
from semaim_mm.report.result import write_result
from semaim_mm.runtime.spread import ROBUSTNESS_SETS

ROOT = Path(__file__).resolve().parents[2]
ANCHORS = load_anchors()
LEAVES = sorted({anchor.config for anchor in ANCHORS})
# what a leaf may set beside its checkpoint
STATED = {"model.layers", "model.poolings", "model.backbone.arch", "test_set"}
CHECKPOINT = "model.backbone.init_cfg.checkpoint"


def parent(leaf: str) -> str:
    """The leaf that a leaf inherits from, relative to the repository."""
    (line,) = [x for x in (ROOT / leaf).read_text().splitlines() if x.startswith("_base_ = ")]
    path = (ROOT / leaf).parent / line.split('"')[1]
    return path.resolve().relative_to(ROOT).as_posix()


def protocol_leaf(leaf: str) -> str:
    """The first ancestor that is no anchor."""
    while "/anchors/" in leaf:
        leaf = parent(leaf)
    return leaf


def protocol_name(leaf: str) -> str:
    """'configs/cls/lowshot-1pct_logreg_vitb.py' -> 'cls/lowshot-1pct_logreg': no method, no size.

    CLS instead of the mean, and more views at test time, are variants of a protocol.
    """
    folder, stem = Path(leaf).parent.name, Path(leaf).stem
    words = [word for word in stem.split("_") if "vit" not in word or "vitdet" in word]
    return f"{folder}/{'_'.join(words).removesuffix('-ms').replace('-cls', '')}"


@cache
def load(leaf: str) -> Config:
    return Config.fromfile(ROOT / leaf)


@cache
def resolved(leaf: str) -> dict:
    """A leaf -> {'a.b.c': value}."""
    return flat(load(leaf).to_dict())


def flat(value, prefix: str = "") -> dict:
    if not isinstance(value, dict):
        return {prefix.removesuffix("."): value}
    return {k: v for key, item in value.items() for k, v in flat(item, f"{prefix}{key}.").items()}


def changed(one: str, other: str) -> set[str]:
    """-> the keys in which two leaves differ."""
    old, new = resolved(one), resolved(other)
    return {key for key in new.keys() | old.keys() if new.get(key) != old.get(key)}


def test_every_leaf_has_an_anchor_and_every_anchor_a_leaf():
    files = {path.relative_to(ROOT).as_posix() for path in ROOT.glob("configs/*/anchors/*.py")}
    assert files == set(LEAVES)
    assert [Path(anchor.config).stem for anchor in ANCHORS] == [a.name for a in ANCHORS]
    scores = [(anchor.name, anchor.metric) for anchor in ANCHORS]
    assert len(scores) == len(set(scores))


def test_every_protocol_and_every_robustness_set_has_an_anchor():
    covered = {protocol_name(protocol_leaf(leaf)) for leaf in LEAVES}
    protocols = {protocol_name(leaf) for leaf in full_size_leaves("cls", "det", "seg")}
    assert {name.split("/")[0] for name in protocols} == {"cls", "det", "seg"}
    assert covered == protocols
    tested = {load(leaf).get("test_set") for leaf in LEAVES}
    assert tested == {None, *ROBUSTNESS_SETS}


@pytest.mark.parametrize("leaf", LEAVES)
def test_a_leaf_differs_from_its_protocol_in_its_checkpoint_and_what_it_states(leaf):
    assert len((ROOT / leaf).read_text().splitlines()) <= 15
    protocol = protocol_leaf(leaf)
    assert changed(leaf, protocol) - STATED == {CHECKPOINT}
    assert resolved(leaf)[CHECKPOINT].startswith("checkpoints/")
    assert resolved(protocol)[CHECKPOINT] is None


@pytest.mark.parametrize("anchor", ANCHORS, ids=lambda anchor: f"{anchor.name} {anchor.metric}")
def test_an_anchor_fits_its_leaf_and_has_a_source_or_a_reason(anchor):
    cfg = load(anchor.config)
    assert anchor.task == cfg.task
    if anchor.expected is None:
        assert anchor.tolerance is None and anchor.source is None and anchor.note
    else:
        assert 0 < anchor.expected < 100 and 0 < anchor.tolerance <= 5 and anchor.source
    if cfg.get("train_cfg") is None:
        assert anchor.train is None
    else:
        assert changed(anchor.train, anchor.config) <= {"test_set"}
    assert anchor.metric in metrics_of(cfg)


def metrics_of(cfg: Config) -> set[str]:
    """What a protocol reports that may be an anchor."""
    if cfg.test_evaluator.type == "SampleCoco":
        return {f"{kind}_mAP" for kind in cfg.test_evaluator.metric}
    if cfg.test_evaluator.type == "SampleIoU":
        return set(cfg.test_evaluator.iou_metrics)
    if cfg.test_evaluator.type == "LinearProbe":
        layers = [layer % 12 for layer in cfg.model.layers]
        return {f"layer{n}.{pooling}/top1" for n in layers for pooling in cfg.model.poolings}
    return {"top1"}


def measured(folder: Path, anchor: Anchor, value: float) -> None:
    write_result(
        folder,
        dict(
            status="complete",
            method=anchor.name,
            arch="ViT-base/16",
            task=anchor.task,
            metrics={anchor.metric: dict(value=value, unit="percent")},
            n_evaluated=1,
            n_dataset=1,
            protocol=dict(task=anchor.task),
            selection="last epoch",
            seed=0,
            config_hash="0" * 64,
            git=dict(commit=None, dirty=None),
            checkpoint=None,
            data=dict(name="imagenet", manifest_sha256=None),
            versions=dict(torch="2.11.0"),
            hardware=dict(device="cpu", world_size=1),
            run={},
            start="2026-01-01T00:00:00+00:00",
            end="2026-01-01T00:00:01+00:00",
        ),
        None,
    )


@pytest.fixture
def listed(monkeypatch, capsys):
    """``listed(results)`` runs the tool -> its exit status and lines."""

    def run(results: Path) -> tuple[int, list[str]]:
        monkeypatch.setattr(sys, "argv", ["anchors.py", str(results)])
        with pytest.raises(SystemExit) as stopped:
            runpy.run_path(str(ROOT / "tools" / "anchors.py"), run_name="__main__")
        return stopped.value.code, capsys.readouterr().out.splitlines()

    return run


def test_the_tool_lists_all_of_them_not_run(listed, tmp_path):
    status, lines = listed(tmp_path)
    assert status == 0
    names = dict.fromkeys(anchor.name for anchor in ANCHORS)
    assert [line for line in lines if not line.startswith(" ")] == list(names)
    assert sum("; not run" in line for line in lines) == len(ANCHORS)
    assert sum("no published figure" in line for line in lines) == 4
    for leaf in LEAVES:
        name = Path(leaf).stem
        assert f"    python tools/test.py {leaf} CHECKPOINT --method {name}" in lines
    # what is tested on another set is trained once, as the leaf that has no test set
    assert "    tools/dist_train.sh configs/cls/anchors/finetune_mae_vitb.py 8" in lines
    # batch norms over 64 images, 4 on a device, want 16 devices
    leaf = "configs/det/anchors/mask-rcnn_mae-vitb_benchmarking-25ep_coco.py"
    two = [line.strip() for line in lines if f"tools/dist_train.sh {leaf} 8" in line]
    assert two == [
        f"NNODES=2 NODE_RANK={rank} MASTER_ADDR=HOST tools/dist_train.sh {leaf} 8"
        for rank in (0, 1)
    ]
    assert sum("NNODES" in line for line in lines) == 6
    assert not any("imagenet-a.py 8" in line or "knn_dino_vitb.py 8" in line for line in lines)


def test_a_result_within_the_tolerance_is_reproduced_and_another_is_off(listed, tmp_path):
    by_name = {(anchor.name, anchor.metric): anchor for anchor in ANCHORS}
    near = by_name["linear_mae_vitb", "top1"]
    far = by_name["mask-rcnn_mae-vitb_vitdet-100ep_coco", "segm_mAP"]
    without = by_name["finetune_mae_vitb_imagenet-v2", "top1"]
    measured(tmp_path / "a", near, near.expected - near.tolerance + 0.01)
    measured(tmp_path / "b", without, 73.25)
    found = {(a.name, a.metric): a.state for a in load_anchors(tmp_path)}
    assert found[near.name, near.metric] == "reproduced (-1.99)"
    assert found[without.name, without.metric] == "measured 73.25"
    assert found[far.name, far.metric] == "not run"
    assert listed(tmp_path)[0] == 0
    measured(tmp_path / "c", far, far.expected - far.tolerance - 0.1)
    status, lines = listed(tmp_path)
    assert status == 1
    assert any("segm_mAP 45.9 +- 0.5; OFF (-0.60)" in line for line in lines)
