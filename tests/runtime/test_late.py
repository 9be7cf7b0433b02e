"""Values that are logged late equal those logged at once, and no step of a run waits for one."""

from __future__ import annotations

import copy
from uuid import uuid4

import pytest
import torch
from conftest import write_images
from mmengine.logging import HistoryBuffer, MessageHub
from torch.utils._python_dispatch import TorchDispatchMode

from semaim_mm.runtime.late import LateHistory, LateValues, log_late
from semaim_mm.runtime.launch import build_runner, load_config
from semaim_mm.runtime.reliable.stop import Stopped, StopSignalHook

SYNCS = ("_local_scalar_dense", "nonzero", "is_nonzero", "masked_select", "equal")


def test_values_are_those_of_the_moment_they_were_asked_for():
    value = torch.tensor([1.0, 2.0])
    late = LateValues(value)
    value.zero_()
    assert late.read().tolist() == [1, 2] and not late.late


@pytest.fixture
def hub():
    return MessageHub.get_instance(uuid4().hex)


def test_a_late_history_is_mmengines_with_tensors_among_the_numbers(hub):
    values = [3.0, 1.5, 2.0, 7.0, 0.25]
    plain = HistoryBuffer(values, [1] * 5)
    for value in values[:3]:
        log_late(hub, "loss", torch.tensor(value))
    hub.update_scalar("loss", values[3])
    log_late(hub, "loss", torch.tensor(values[4]))
    late = hub.get_scalar("loss")
    assert isinstance(late, LateHistory)
    assert late.current() == 0.25 and late.mean(2) == plain.mean(2) and late.max() == 7
    assert late.statistics("mean") == plain.mean()
    for one, other in zip(late.data, plain.data, strict=True):
        assert one.tolist() == other.tolist()


def test_what_a_checkpoint_holds_is_mmengines_own_and_goes_on_from_there(hub):
    for value in (1.0, 2.0, 3.0):
        log_late(hub, "loss", torch.tensor(value))
    saved = copy.deepcopy(hub.state_dict())
    assert type(saved["log_scalars"]["loss"]) is HistoryBuffer
    other = MessageHub.get_instance(uuid4().hex)
    other.load_state_dict(saved)
    log_late(other, "loss", torch.tensor(4.0))
    assert other.get_scalar("loss").data[0].tolist() == [1, 2, 3, 4]


def test_a_late_history_keeps_the_newest():
    late = LateHistory([1.0, 2.0], [1, 1], max_length=3)
    for value in (3.0, 4.0):
        late.add(torch.tensor(value))
    assert late.data[0].tolist() == [2, 3, 4] and len(late.data[1]) == 3


class Names(TorchDispatchMode):
    """Names of the ops that run in it."""

    def __init__(self):
        super().__init__()
        self.names = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.names.append(func.overloadpacket.__name__)
        return func(*args, **(kwargs or {}))


def syncs_by_step(root, fused: bool) -> list[int]:
    """Values read on the host in each of 8 steps (4 updates) whose logger's interval is 4 steps."""
    write_images(root / "pretrain", 16, size=64)
    write_images(root / "pretrain_val", 4, size=64, seed=1)
    options = {
        "data_root": str(root),
        "experiment_name": uuid4().hex,
        "total_batch": 4,
        "train_dataloader.batch_size": 2,
        "train_dataloader.num_workers": 0,
        "val_dataloader": None,
        "val_cfg": None,
        "val_evaluator": None,
        "default_hooks.logger.interval": 4,
        "train_cfg.max_epochs": 1,
        "train_cfg.val_interval": 99,
        "model.ema": {},
        "model.backbone.drop_path_rate": 0.2,
        "optim_wrapper.optimizer.fused": fused,
        "param_scheduler": None,
    }
    runner = build_runner(load_config("configs/pretrain/semaim_tiny.py", options, str(root / "w")))
    loop, found = runner.build_train_loop(runner._train_loop), []
    runner._train_loop = loop
    run = loop.run_iter

    def counted(index, batch):
        with Names() as ops:
            run(index, batch)
        found.append(sum(ops.names.count(name) for name in SYNCS))

    loop.run_iter = counted
    runner.train()
    return found


def test_no_step_of_a_run_reads_a_value_on_the_host_but_those_that_are_logged(tmp_path):
    steps = syncs_by_step(tmp_path, fused=True)
    # the first step and the first update make the histories of what is logged, which is read once
    assert steps[2:3] + steps[4:7] == [0, 0, 0, 0], steps


def test_an_optimiser_that_is_not_fused_is_asked_on_the_host_and_the_count_sees_it(tmp_path):
    steps = syncs_by_step(tmp_path, fused=False)
    assert steps[4] == 0 and steps[5] >= 3, steps


class Told:
    """A number of another device: known an update later."""

    def __init__(self, number: int):
        self.number, self.late = number, True

    def read(self) -> int:
        return self.number


def test_ranks_on_gpus_hear_of_a_signal_an_update_later_all_at_once(monkeypatch):
    numbers = iter([0, 15, 15])
    monkeypatch.setattr(
        "semaim_mm.runtime.reliable.stop.largest_later", lambda heard: Told(next(numbers))
    )

    class Runner:
        world_size, epoch, iter, hooks = 2, 0, 0, ()
        logger = type("L", (), dict(warning=lambda self, text: None))()
        optim_wrapper = type("W", (), dict(should_update=lambda self: True))()

    hook, runner = StopSignalHook(), Runner()
    for runner.iter in (0, 1):
        hook.after_train_iter(runner, 0)
    runner.iter = 2
    with pytest.raises(Stopped, match="stopped by SIGTERM at iteration 3"):
        hook.after_train_iter(runner, 2)
