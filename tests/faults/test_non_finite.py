"""A NaN or Inf is never stepped on, never saved, and ends a run that has nothing else: row 12."""

from __future__ import annotations

import json

import fault_runs as runs
import mmengine.optim.optimizer.amp_optimizer_wrapper as amp
import pytest
import shipped_leaves as shipped
import torch

from semaim_mm.errors import InputError
from semaim_mm.runtime.hooks import unwrap
from semaim_mm.runtime.precision import BFloat16OptimWrapper, Float16OptimWrapper
from semaim_mm.runtime.reliable.finite import FiniteStepHook, refuse_non_finite

LEAF = shipped.PRETRAIN
EVERY_UPDATE = {
    "default_hooks.checkpoint.by_epoch": False,
    "default_hooks.checkpoint.max_keep_ckpts": -1,
}


# on GPUs by itself; the device decides then, and the host hears of it an update later
FUSED = {"optim_wrapper.optimizer.fused": True}
KINDS = pytest.mark.parametrize("kind", [{}, FUSED], ids=["host", "device"])


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    root = tmp_path_factory.mktemp("finite")
    shipped.pretraining(root)
    return root


def poisoned(iterations, value: float):
    """A fault: the loss of these iterations is multiplied by NaN or Inf, and so its gradients."""

    def fault(runner) -> None:
        model = unwrap(runner.model)
        original = model.parse_losses

        def parse(losses):
            if runner.iter in iterations:
                losses = {key: loss * value for key, loss in losses.items()}
            return original(losses)

        model.parse_losses = parse

    return fault


@pytest.mark.slow
@KINDS
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_an_update_that_is_not_finite_is_left_out_and_written_down(value, kind, data, tmp_path):
    options = shipped.pretraining(data) | EVERY_UPDATE | kind
    # the first of the two steps of the third update
    ended = runs.train(LEAF, options, tmp_path, poisoned([4], value))
    assert ended.code == 0, ended.out[-3000:]
    before, after, later = (
        runs.content(tmp_path / f"iter_{number}.pth")["state_dict"] for number in (4, 6, 8)
    )
    assert any(key.startswith("ema.") for key in before)
    runs.assert_equal(before, after, "weights")
    assert any(not torch.equal(later[key], after[key]) for key in before)
    (line,) = map(json.loads, (tmp_path / "left_out_updates.jsonl").read_text().splitlines())
    assert (line["epoch"], line["iter"], line["loss_finite"]) == (0, 6, False)
    assert line["grad_norm"] in ("nan", "inf", "-inf")
    used = [key for step in runs.steps(tmp_path)[4:6] for key in step["samples"]]
    assert [sample["key"][1:] for sample in line["samples"]] == used
    assert "1 in a row" in ended.out
    assert_all_finite(tmp_path)


def assert_all_finite(work_dir) -> None:
    files = sorted(work_dir.glob("*.pth"))
    assert files
    for path in files:
        content = runs.content(path)
        for key, value in content["state_dict"].items():
            assert value.isfinite().all(), (path, key)
        for state in content["optimizer"]["state"].values():
            assert all(torch.as_tensor(value).isfinite().all() for value in state.values()), path


@pytest.mark.slow
@KINDS
def test_several_in_a_row_end_the_run_with_the_checkpoints_of_before(kind, data, tmp_path):
    options = shipped.pretraining(data) | EVERY_UPDATE | {"default_hooks.finite.stop_after": 2}
    options |= kind
    # one alone (8, 9), then all from 12 on
    fault = poisoned([9, *range(12, 99)], float("nan"))
    ended = runs.train(LEAF, options, tmp_path, fault)
    assert ended.code == 2, ended.out[-3000:]
    told = [line for line in ended.out.splitlines() if line.startswith("error: ")]
    assert len(told) == 1 and "2 updates in a row, up to iteration 16" in told[0]
    lines = (tmp_path / "left_out_updates.jsonl").read_text().splitlines()
    assert [json.loads(line)["iter"] for line in lines] == [10, 14, 16]
    assert runs.newest(tmp_path)["meta"]["iter"] == 14
    assert_all_finite(tmp_path)
    ended = runs.train(LEAF, options, tmp_path)
    assert ended.code == 0, "once the cause is gone it goes on"


def test_between_checkpoints_a_run_whose_device_decides_ends_an_update_later(data, tmp_path):
    options = shipped.pretraining(data) | FUSED | {"default_hooks.finite.stop_after": 2}
    options |= {"default_hooks.checkpoint.interval": 100}
    ended = runs.train(LEAF, options, tmp_path, poisoned([4, 6], float("nan")))
    assert ended.code == 2 and "2 updates in a row, up to iteration 8" in ended.out
    lines = (tmp_path / "left_out_updates.jsonl").read_text().splitlines()
    assert [json.loads(line)["iter"] for line in lines] == [6, 8]
    weights = [step["weights"] for step in runs.steps(tmp_path)]
    assert len(weights) == 9 and len(set(weights[3:])) == 1, "the tenth step ends the next update"
    assert not list(tmp_path.glob("*.pth"))


@pytest.mark.slow
@KINDS
def test_one_rank_that_is_not_finite_keeps_both_from_stepping(kind, data, tmp_path):
    options = shipped.pretraining(data) | EVERY_UPDATE | {"precision": "fp32"} | kind
    faults = [None, poisoned([1], float("nan"))]
    ended = runs.train_ranks(LEAF, options, tmp_path, faults)
    assert [one.code for one in ended] == [0, 0], ended[1].out[-3000:]
    ranks = [runs.steps(tmp_path, rank) for rank in (0, 1)]
    weights = [[line["weights"] for line in steps] for steps in ranks]
    assert weights[0] == weights[1]
    for rank, suffix in ((0, ""), (1, ".rank1")):
        text = (tmp_path / f"left_out_updates{suffix}.jsonl").read_text()
        (line,) = map(json.loads, text.splitlines())
        assert line["loss_finite"] == (rank == 0) and line["iter"] == 2
    assert_all_finite(tmp_path)


def wrapper(kind, **options):
    model = torch.nn.Linear(3, 1)
    found = kind(optimizer=torch.optim.AdamW(model.parameters(), lr=0.1), **options)
    return model, found


def test_a_gradient_that_is_not_finite_under_a_finite_loss_is_left_out_without_clipping_too():
    for clip in (None, dict(max_norm=1.0), dict(type="value", clip_value=0.1)):
        model, optim = wrapper(BFloat16OptimWrapper, clip_grad=clip)
        before = model.weight.detach().clone()
        # d sqrt(x) / dx is infinite at 0
        optim.update_params(model(torch.ones(1, 3)).sum().mul(0).abs().sqrt())
        assert optim.left_out and optim.left_out["loss_finite"]
        assert torch.equal(model.weight, before)
        optim.update_params(model(torch.ones(1, 3)).sum())
        assert optim.left_out is None and not torch.equal(model.weight, before)


@pytest.fixture
def fp16(monkeypatch):
    """The fp16 wrapper with torch's scaler for the CPU."""
    monkeypatch.setattr(amp, "is_cuda_available", lambda: True)
    model, optim = wrapper(Float16OptimWrapper, dtype="float16")

    def with_scale(scale: float):
        optim.loss_scaler = torch.amp.GradScaler("cpu", init_scale=scale)
        return model, optim

    return with_scale


def test_the_fp16_scalers_own_skips_are_no_faults(fp16):
    model, optim = fp16(2.0**40)
    before = model.weight.detach().clone()
    # finite by itself, Inf once scaled
    optim.update_params(model(torch.full((1, 3), 1e30)).sum())
    assert optim.loss_scaler.get_scale() == 2.0**39 and torch.equal(model.weight, before)
    assert optim.left_out is None
    optim.update_params(model(torch.ones(1, 3)).sum())
    assert optim.left_out is None and not torch.equal(model.weight, before)


def test_a_loss_that_is_not_finite_is_a_fault_under_fp16_and_leaves_the_scale(fp16):
    model, optim = fp16(1024.0)
    before = model.weight.detach().clone()
    optim.update_params(model(torch.ones(1, 3)).sum() * float("nan"))
    assert optim.left_out["loss_finite"] is False
    assert optim.loss_scaler.get_scale() == 1024 and torch.equal(model.weight, before)


def test_a_scale_that_can_fall_no_further_makes_skips_faults(fp16):
    model, optim = fp16(1.0)
    optim.update_params(model(torch.ones(1, 3)).sum().mul(0).abs().sqrt())
    assert optim.left_out["loss_scale"] == 1


def test_a_model_that_is_not_finite_is_not_saved():
    model = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.BatchNorm1d(2))
    refuse_non_finite(model, dict(state={0: dict(step=torch.tensor(1.0))}), "a.pth")
    model.register_buffer("mask", torch.full((2,), -torch.inf))  # a constant, meant so
    refuse_non_finite(model, None, "a.pth")
    with pytest.raises(InputError, match="a.pth was not written, for the optimiser's state"):
        refuse_non_finite(model, dict(state={0: dict(v=torch.tensor(torch.inf))}), "a.pth")
    model[1].running_mean[0] = torch.nan
    with pytest.raises(InputError, match=r"1 weights \(1.running_mean\) would be NaN"):
        refuse_non_finite(model, None, "a.pth")


def test_a_hook_that_would_never_stop_is_refused():
    with pytest.raises(InputError, match="stop_after=0 must be at least 1"):
        FiniteStepHook(stop_after=0)
