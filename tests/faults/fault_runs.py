"""Real small trainings in forked processes with a hard time limit, and faults to inject into them.

A fork starts with everything imported. A fault is a function of the runner, called before it
trains; most register a hook that strikes at an iteration.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple
from uuid import uuid4

import torch
from mmengine.hooks import Hook
from mmengine.runner import Runner

from semaim_mm.runtime.hooks import unwrap
from semaim_mm.runtime.launch import build_runner, load_config, set_resume, user_errors

Fault = Callable[[Runner], None]
LIMIT = 150  # seconds that a run may take on a busy machine


class Ended(NamedTuple):
    """How a run ended: its exit code (negative: the signal), and all that it printed."""

    code: int | None
    out: str


def start(
    leaf: str,
    options: dict[str, Any],
    work_dir: Path,
    fault: Fault | None = None,
    resume: str | None = "auto",
    rank: int = 0,
    ranks: int = 1,
    before: Callable[[], None] | None = None,
) -> multiprocessing.Process:
    """Fork a process that trains, as tools/train.py does; the caller joins it.

    ``before`` is called in it before anything is read.
    """
    work_dir.mkdir(parents=True, exist_ok=True)
    arguments = (leaf, options, work_dir, fault, resume, rank, ranks, before)
    process = multiprocessing.get_context("fork").Process(target=_train, args=arguments)
    process.start()
    return process


def end(process: multiprocessing.Process, work_dir: Path, rank: int = 0) -> Ended:
    """Wait for a started process; one that exceeds the limit is killed and fails the test."""
    process.join(LIMIT)
    late = process.is_alive()
    if late:
        process.kill()
        process.join()
    out = (work_dir / f"out{rank}.txt").read_text(errors="replace")
    assert not late, f"the run took over {LIMIT} s: {out[-2000:]}"
    return Ended(process.exitcode, out)


def train(leaf: str, options: dict, work_dir: Path, fault: Fault | None = None, **how) -> Ended:
    """Start a run and wait for its end."""
    return end(start(leaf, options, work_dir, fault, **how), work_dir)


def train_ranks(
    leaf: str, options: dict, work_dir: Path, faults: list[Fault | None], **how
) -> list[Ended]:
    """A run of as many ranks as there are ``faults``, on gloo."""
    ranks = len(faults)
    started = [
        start(leaf, options, work_dir, fault, rank=rank, ranks=ranks, **how)
        for rank, fault in enumerate(faults)
    ]
    return [end(process, work_dir, rank) for rank, process in enumerate(started)]


def _train(leaf, options, work_dir, fault, resume, rank, ranks, before) -> None:
    with (work_dir / f"out{rank}.txt").open("ab", buffering=0) as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    sys.stdout, sys.stderr = (os.fdopen(n, "w", buffering=1, closefd=False) for n in (1, 2))
    torch.set_num_threads(1)
    launcher = "none"
    if ranks > 1:
        launcher = "pytorch"
        os.environ.update(LOCAL_RANK=str(rank), RANK=str(rank), WORLD_SIZE=str(ranks))
        meeting = f"file://{work_dir}/meeting"
        torch.distributed.init_process_group("gloo", meeting, rank=rank, world_size=ranks)
    if before is not None:
        before()
    with user_errors():
        # mmengine's loggers are found by this name, and the parent may have had some
        cfg = load_config(
            leaf, {**options, "experiment_name": uuid4().hex}, str(work_dir), launcher
        )
        set_resume(cfg, resume)
        runner = build_runner(cfg)
        runner.register_hook(StepsHook(), priority="LOW")  # before a stop raises
        if fault is not None:
            fault(runner)
        runner.train()


class StepsHook(Hook):
    """Writes a line a step to ``steps.jsonl``: iteration, loss, weights' sum, samples."""

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        keys = [list(sample.sample_key[1:]) for sample in data_batch["data_samples"]]
        weights = sum(p.double().sum().item() for p in unwrap(runner.model).parameters())
        line = dict(iter=runner.iter, loss=outputs["loss"].item(), weights=weights, samples=keys)
        name = f"steps{runner.rank or ''}.jsonl"
        with Path(runner.work_dir, name).open("a") as file:
            file.write(json.dumps(line) + "\n")


def steps(work_dir: Path, rank: int = 0) -> list[dict[str, Any]]:
    """The lineage that survived: of an iteration that was done twice, the later one."""
    lines = (work_dir / f"steps{rank or ''}.jsonl").read_text().splitlines()
    by_iteration = {line["iter"]: line for line in map(json.loads, lines)}
    return [by_iteration[number] for number in sorted(by_iteration)]


class AtHook(Hook):
    """Calls ``act`` once, when hook point ``point`` is reached and ``when(runner)`` holds."""

    def __init__(self, point: str, when: Callable[[Runner], bool], act: Callable[[Runner], None]):
        self.done = False

        def strike(runner, *args, **kwargs) -> None:
            if not self.done and when(runner):
                self.done = True
                act(runner)

        setattr(self, point, strike)


def at(point: str, when: Callable[[Runner], bool], act: Callable[[Runner], None]) -> Fault:
    """A fault that strikes once at one of mmengine's hook points."""
    return lambda runner: runner.register_hook(AtHook(point, when, act), priority="NORMAL")


def at_iteration(number: int, act: Callable[[Runner], None]) -> Fault:
    """A fault that strikes before iteration ``number``."""
    return at("before_train_iter", lambda runner: runner.iter == number, act)


def killed(runner: Runner) -> None:
    """SIGKILL to this very process."""
    os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(60)


def signalled(number: int) -> Callable[[Runner], None]:
    """-> what sends a signal to this very process."""
    return lambda runner: os.kill(os.getpid(), number)


def content(path: Path) -> dict[str, Any]:
    """A checkpoint that the test itself had written."""
    return torch.load(path, weights_only=False)


def newest(work_dir: Path) -> dict[str, Any]:
    """The checkpoint that a finished run ended with."""
    return content(max(work_dir.glob("*.pth"), key=lambda path: content(path)["meta"]["iter"]))


def assert_same_end(work_dir: Path, undisturbed: Path) -> None:
    """Every step, and weights, optimiser and EMA at the end, are equal bit by bit."""
    assert steps(work_dir) == steps(undisturbed)
    one, other = newest(work_dir), newest(undisturbed)
    assert_equal(one["state_dict"], other["state_dict"], "weights")
    assert_equal(one["optimizer"], other["optimizer"], "optimiser")
    assert_equal(one["param_schedulers"], other["param_schedulers"], "schedule")


def assert_equal(one: Any, other: Any, where: str) -> None:
    """Equal nested contents, tensors bit by bit."""
    if isinstance(one, torch.Tensor):
        assert torch.equal(one, other), where
    elif isinstance(one, dict):
        assert one.keys() == other.keys(), where
        for key, value in one.items():
            assert_equal(value, other[key], f"{where}.{key}")
    elif isinstance(one, (list, tuple)):
        assert len(one) == len(other), where
        for number, value in enumerate(one):
            assert_equal(value, other[number], f"{where}.{number}")
    else:
        assert one == other, where
