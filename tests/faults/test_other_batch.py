"""A run is not gone on with by another batch, unless the update stays the same: row 4."""

from __future__ import annotations

import copy

import fault_runs as runs
import pytest
import shipped_leaves as shipped

from semaim_mm.errors import InputError
from semaim_mm.runtime.reliable.kept_batch import batch_record, go_on_with

# drop path draws by rank, so that it differs where the ranks do
SPLIT = {"total_batch": 8, "precision": "fp32", "model.backbone.drop_path_rate": 0.0}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return tmp_path_factory.mktemp("batch")


@pytest.fixture(scope="module")
def whole(place):
    """A run of one process, 8 images an update: 2 updates an epoch."""
    ended = runs.train(shipped.PRETRAIN, options(place, 8), place / "whole")
    assert ended.code == 0, ended.out[-3000:]
    return place / "whole"


def options(place, per_device: int) -> dict:
    return shipped.pretraining(place) | SPLIT | {"train_dataloader.batch_size": per_device}


def stopped_after_an_epoch(place, work_dir) -> None:
    fault = runs.at_iteration(2, runs.killed)
    assert runs.train(shipped.PRETRAIN, options(place, 8), work_dir, fault).code == -9
    assert (work_dir / "epoch_1.pth").is_file()


def losses(lines) -> list[float]:
    return [line["loss"] for line in lines]


@pytest.mark.slow
def test_a_pretraining_of_one_process_goes_on_with_two(place, whole, tmp_path):
    stopped_after_an_epoch(place, tmp_path)
    ended = runs.train_ranks(shipped.PRETRAIN, options(place, 4), tmp_path, [None, None])
    assert [one.code for one in ended] == [0, 0], ended[0].out[-3000:]
    assert "the total batch is the same, so the training goes on" in ended[0].out
    first, second = runs.steps(tmp_path), runs.steps(tmp_path, rank=1)
    assert [len(line["samples"]) for line in first] == [8, 8, 4, 4, 4, 4]
    both = [(one + other) / 2 for one, other in zip(losses(first[2:]), losses(second), strict=True)]
    assert both == pytest.approx(losses(runs.steps(whole)[2:]), rel=1e-6)


@pytest.mark.slow
def test_a_pretraining_goes_on_with_accumulated_steps(place, whole, tmp_path):
    stopped_after_an_epoch(place, tmp_path)
    ended = runs.train(shipped.PRETRAIN, options(place, 4), tmp_path)
    assert ended.code == 0, ended.out[-3000:]
    assert "resumed epoch: 1, iter: 4" in ended.out
    steps = runs.steps(tmp_path)[-8:]
    pairs = list(zip(steps[::2], steps[1::2], strict=True))
    seen = [sorted(map(tuple, a["samples"] + b["samples"])) for a, b in pairs]
    wanted = [sorted(map(tuple, line["samples"])) for line in runs.steps(whole)[2:]]
    assert seen == wanted
    means = [(a["loss"] + b["loss"]) / 2 for a, b in pairs]
    # accumulated, an update takes the rate of its last step, half an update later
    assert means == pytest.approx(losses(runs.steps(whole)[2:]), rel=0.02)
    for ours, theirs in zip(
        runs.newest(tmp_path)["param_schedulers"],
        runs.newest(whole)["param_schedulers"],
        strict=True,
    ):
        assert ours["_global_step"] == 2 * theirs["_global_step"]
        assert ours["end"] == 2 * theirs["end"]


@pytest.mark.slow
def test_another_total_batch_is_refused(place, tmp_path):
    stopped_after_an_epoch(place, tmp_path)
    other = options(place, 4) | {"total_batch": 4}
    ended = runs.train(shipped.PRETRAIN, other, tmp_path)
    assert ended.code == 2 and "Traceback" not in ended.out, ended.out[-3000:]
    assert "total batch of 8 (1 process(es) x 8 images x 1 step(s))" in ended.out
    assert "Set total_batch=8" in ended.out


@pytest.mark.slow
def test_a_finetuning_on_another_number_of_processes_is_refused(place, tmp_path):
    given = shipped.finetuning(place) | {"precision": "fp32"}
    fault = runs.at_iteration(6, runs.killed)
    assert runs.train(shipped.FINETUNE, given, tmp_path, fault).code == -9
    ended = runs.train_ranks(shipped.FINETUNE, given, tmp_path, [None, None])
    assert [one.code for one in ended] == [2, 2], ended[0].out[-3000:]
    assert "take 1 process(es) and train_dataloader.batch_size=2" in ended[1].out


NOW = batch_record(None, 2, 4)


def saved(**changes) -> dict:
    scheduler = dict(by_epoch=False, last_step=5, _global_step=6, begin=0, end=40, T_max=40)
    batch = NOW | changes
    return dict(meta=dict(iter=6), batch=batch, param_schedulers=[scheduler])


def test_the_same_batch_changes_nothing():
    content = saved()
    go_on_with(content, NOW, False, "a.pth")
    assert content == saved()


@pytest.mark.parametrize(
    ("split", "changes"), [(True, dict(total=16)), (False, dict(world_size=1))]
)
def test_a_batch_that_makes_another_training_is_refused(split, changes):
    with pytest.raises(InputError, match=r"a.pth was trained with .*, and this run has"):
        go_on_with(saved(**changes), NOW, split, "a.pth")


def test_steps_are_recounted_where_an_update_has_another_number_of_them():
    content = saved(per_device=1, accumulation=4, world_size=2) | dict(meta=dict(iter=8))
    content["param_schedulers"][0].update(last_step=8, _global_step=8)
    by_epoch = dict(by_epoch=True, last_step=2, end=9)
    content["param_schedulers"].append(copy.copy(by_epoch))
    go_on_with(content, NOW, True, "a.pth")
    assert content["meta"]["iter"] == 2
    assert content["param_schedulers"] == [
        dict(by_epoch=False, last_step=2, _global_step=2),
        by_epoch,
    ]


def test_a_checkpoint_that_does_not_tell_its_batch_is_gone_on_from(capsys):
    go_on_with(dict(meta=dict(iter=1)), NOW, False, "a.pth")
    assert "a.pth does not say with which batch" in "".join(capsys.readouterr())
