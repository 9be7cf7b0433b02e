"""Signals end a run with its state saved, and a work dir takes one run at a time: rows 9, 16."""

from __future__ import annotations

import os
import signal
import subprocess
import time

import fault_runs as runs
import psutil
import pytest
import shipped_leaves as shipped
from mmengine.hooks import Hook

from semaim_mm.runtime.reliable.stop import EXIT_CODE

pytestmark = pytest.mark.slow

LEAVES = {
    "pretrain": (shipped.PRETRAIN, shipped.pretraining),
    "finetune": (shipped.FINETUNE, shipped.finetuning),
    "detect": (shipped.DETECT, shipped.detection),
    "segment": (shipped.SEGMENT, shipped.segmentation),
}
SIGNALS = [signal.SIGTERM, signal.SIGUSR1]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return tmp_path_factory.mktemp("stopping")


@pytest.fixture(autouse=True)
def own_cache(place, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(place / "cache"))


@pytest.fixture(scope="module")
def undisturbed(place):
    done = {}

    def run(name: str):
        if name not in done:
            leaf, options = LEAVES[name]
            ended = runs.train(leaf, options(place), place / f"whole-{name}")
            assert ended.code == 0, ended.out[-3000:]
            done[name] = place / f"whole-{name}"
        return done[name]

    return run


@pytest.mark.parametrize("number", SIGNALS, ids=lambda number: number.name)
@pytest.mark.parametrize("name", LEAVES)
def test_a_signal_in_training_saves_at_the_next_update_and_the_run_goes_on(
    name, number, undisturbed, place, tmp_path
):
    leaf, options = LEAVES[name]
    options = options(place) | {"default_hooks.checkpoint.interval": 100}
    # an even iteration: the first of an update's two steps
    odd = {"pretrain": 10, "finetune": 8}.get(name, 2)
    ended = runs.train(leaf, options, tmp_path, runs.at_iteration(odd, runs.signalled(number)))
    assert ended.code == EXIT_CODE == 75, ended.out[-3000:]
    assert f"stopped by {number.name} at iteration {odd + 2}, which is saved" in ended.out
    assert [path.name for path in tmp_path.glob("*.pth")] == [f"iter_{odd + 2}.pth"]
    ended = runs.train(leaf, options, tmp_path)
    assert ended.code == 0, ended.out[-3000:]
    assert f"iter: {odd + 2}" in ended.out
    runs.assert_same_end(tmp_path, undisturbed(name))
    left = [path.name for path in tmp_path.glob("*.pth")]
    assert len(left) == 1 and left[0] != f"iter_{odd + 2}.pth", "the next save takes its place"


@pytest.mark.parametrize("name", LEAVES)
def test_a_signal_in_validation_is_heard_there_and_validation_is_made_up(
    name, undisturbed, place, tmp_path
):
    leaf, options = LEAVES[name]
    options = options(place)
    fault = runs.at("before_val_epoch", lambda runner: True, runs.signalled(signal.SIGTERM))
    ended = runs.train(leaf, options, tmp_path, fault)
    assert ended.code == EXIT_CODE, ended.out[-3000:]
    ended = runs.train(leaf, options, tmp_path)
    assert ended.code == 0, ended.out[-3000:]
    # SemAIM's held-out loss is one call, after which the signal is heard: nothing to make up
    made_up = "was not finished: doing it now" in ended.out
    assert made_up == (name != "pretrain")
    lines = (tmp_path / "steps.jsonl").read_text().splitlines()
    assert len(lines) == len(runs.steps(tmp_path)), "no step twice"
    runs.assert_same_end(tmp_path, undisturbed(name))


def test_a_queue_that_runs_it_again_while_it_exits_with_75_ends_as_one_run(
    undisturbed, place, tmp_path
):
    """What Slurm does by ``scontrol requeue``: the same command, --resume auto in it."""
    options = shipped.pretraining(place)
    codes = []
    while len(codes) < 10 and (not codes or codes[-1] == EXIT_CODE):
        # every run gets as far as its fifth step
        begun = []
        fault = runs.at(
            "after_train_iter",
            lambda runner, begun=begun: begun.append(1) or len(begun) == 5,
            runs.signalled(signal.SIGUSR1),
        )
        codes.append(runs.train(shipped.PRETRAIN, options, tmp_path, fault).code)
    assert codes[-1] == 0 and 4 <= codes.count(EXIT_CODE) == len(codes) - 1
    runs.assert_same_end(tmp_path, undisturbed("pretrain"))


def to_the_group(number: int) -> None:
    subprocess.run(["kill", f"-{int(number)}", "--", f"-{os.getpgrp()}"], start_new_session=True)


def to_every_process(number: int) -> None:
    pids = [child.pid for child in psutil.Process().children(recursive=True)]
    assert len(pids) >= 2, "there should be loader workers"
    subprocess.run(["kill", f"-{int(number)}", *map(str, [*pids, os.getpid()])])


@pytest.mark.parametrize("number", SIGNALS, ids=lambda number: number.name)
@pytest.mark.parametrize("to", [to_the_group, to_every_process])
def test_a_signal_that_loader_workers_get_too_is_no_worker_s_death(
    to, number, undisturbed, place, tmp_path
):
    def fault(runner):
        os.setpgid(0, 0)  # not the tests' own group
        runs.at_iteration(10, lambda runner: to(number))(runner)

    options = shipped.pretraining(place, workers=2)
    ended = runs.train(shipped.PRETRAIN, options, tmp_path, fault)
    assert ended.code == EXIT_CODE, ended.out[-3000:]
    ended = runs.train(shipped.PRETRAIN, options, tmp_path)
    assert ended.code == 0, ended.out[-3000:]
    runs.assert_same_end(tmp_path, undisturbed("pretrain"))


def test_a_signal_to_one_rank_stops_both(place, tmp_path):
    options = shipped.pretraining(place) | {"precision": "fp32"}
    faults = [None, runs.at_iteration(1, runs.signalled(signal.SIGTERM))]
    ended = runs.train_ranks(shipped.PRETRAIN, options, tmp_path, faults)
    assert [one.code for one in ended] == [EXIT_CODE] * 2, ended[0].out[-3000:]
    assert [path.name for path in tmp_path.glob("*.pth")] == ["iter_2.pth"]


class Waiting(Hook):
    """Stays in the third step until the test ends it."""

    def before_train_iter(self, runner, batch_idx, data_batch=None) -> None:
        if runner.iter == 2:
            time.sleep(runs.LIMIT)


def test_a_second_run_in_a_work_dir_is_refused_and_a_killed_ones_lock_is_taken_over(
    place, tmp_path
):
    options = shipped.pretraining(place, workers=2)
    first = runs.start(
        shipped.PRETRAIN, options, tmp_path, lambda runner: runner.register_hook(Waiting())
    )
    try:
        until = time.monotonic() + runs.LIMIT
        steps = tmp_path / "steps.jsonl"
        while time.monotonic() < until and not (steps.exists() and len(runs.steps(tmp_path)) == 2):
            time.sleep(0.2)
        second = runs.train(shipped.PRETRAIN, options, tmp_path)
        assert second.code == 2
        told = [line for line in second.out.splitlines() if line.startswith("error: ")]
        assert len(told) == 1 and f"Another run works in {tmp_path} (process {first.pid}" in told[0]
        assert len(steps.read_text().splitlines()) == 2
    finally:
        first.kill()
    first.join()
    # at once: its loader workers may still be there, and hold nothing
    third = runs.train(shipped.PRETRAIN, options, tmp_path)
    assert third.code == 0, third.out[-3000:]
    assert f"left behind by process {first.pid}" in third.out


class Slow(Hook):
    """A signal to itself early in a step that takes three seconds."""

    def before_train_iter(self, runner, batch_idx, data_batch=None) -> None:
        if runner.iter == 1:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(3)


def test_the_same_command_waits_for_a_run_that_is_saving_itself(undisturbed, place, tmp_path):
    options = shipped.pretraining(place)
    first = runs.start(
        shipped.PRETRAIN, options, tmp_path, lambda runner: runner.register_hook(Slow())
    )
    until = time.monotonic() + runs.LIMIT
    lock = tmp_path / ".lock"
    while time.monotonic() < until and not (lock.exists() and "stopping" in lock.read_text()):
        time.sleep(0.1)
    second = runs.train(shipped.PRETRAIN, options, tmp_path)
    first.join(runs.LIMIT)
    assert first.exitcode == EXIT_CODE
    assert second.code == 0, second.out[-3000:]
    assert f"waiting for process {first.pid}" in second.out
    assert "resumed epoch: 0, iter: 2" in second.out
    runs.assert_same_end(tmp_path, undisturbed("pretrain"))
