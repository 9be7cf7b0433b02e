"""A soak: the tiny model trained again and again under random faults, against an undisturbed run.

The process that calls it imports everything once and forks each attempt, so that the time goes into
training and not into imports.
"""

import json
import multiprocessing
import os
import random
import resource
import signal
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.hooks import Hook
from mmengine.runner import Runner
from PIL import Image

from semaim_mm.errors import InputError
from semaim_mm.interop.checkpoint_file import read_file
from semaim_mm.runtime.hooks import unwrap
from semaim_mm.runtime.launch import build_runner, load_config, set_resume, user_errors
from semaim_mm.runtime.reliable.newest import newest_checkpoint
from semaim_mm.runtime.reliable.status import read_status

LEAF = "configs/pretrain/semaim_tiny.py"
FAULTS = ("kill", "kill", "worker", "disk", "stop")
LIMIT = 300  # seconds after which an attempt counts as hung
STEPS = "steps.jsonl"


class Steps(Hook):
    """Writes a line a step: its number, loss, the sum of all weights, its samples."""

    def after_train_iter(self, runner: Runner, batch_idx: int, data_batch=None, outputs=None):
        weights = sum(p.double().sum().item() for p in unwrap(runner.model).parameters())
        keys = [list(sample.sample_key) for sample in data_batch["data_samples"]]
        line = [runner.iter + 1, outputs["loss"].item(), weights, keys]
        with Path(runner.work_dir, STEPS).open("a") as file:
            file.write(json.dumps(line) + "\n")


class Soak:
    """Trainings of ``epochs`` epochs of 4 updates in ``out``, disturbed until ``minutes`` are over.

    ``run`` gives the figures; ``survived`` counts the faults that struck a running training.
    """

    def __init__(self, out: str | Path, minutes: float, seed: int = 0, epochs: int = 12):
        self.out, self.minutes, self.epochs = Path(out).resolve(), minutes, epochs
        self.random = random.Random(seed)
        self.survived: Counter[str] = Counter()
        self.codes: Counter[str] = Counter()
        self.replayed = self.lost = self.attempts = 0
        if self.out.exists() and any(self.out.iterdir()):
            raise InputError(f"{self.out} is not empty; give the soak a new folder by --out.")

    def run(self) -> dict[str, Any]:
        """-> kills and other faults survived, steps lost and replayed, trainings that are equal."""
        write_images(self.out / "images" / "pretrain", 18)
        write_images(self.out / "images" / "pretrain_val", 4)
        whole = self.out / "undisturbed"
        begun = time.monotonic()
        self._attempt(whole, None)
        if read_status(whole).get("status") != "complete":
            raise InputError(f"The undisturbed training failed; see {whole / 'log.txt'}.")
        until = begun + 60 * self.minutes
        equal = number = 0
        while number == 0 or time.monotonic() < until:
            number += 1
            folder = self.out / f"disturbed{number}"
            while read_status(folder).get("status") != "complete":
                fault = self.random.choice(FAULTS) if time.monotonic() < until else None
                self._attempt(folder, fault)
                self.attempts += 1
            equal += self._check(folder, whole)
        return dict(
            minutes=round((time.monotonic() - begun) / 60, 1),
            trainings=number,
            equal=equal,
            steps_each=len(lines_of(whole)),
            attempts=self.attempts,
            survived=dict(sorted(self.survived.items())),
            exit_codes=dict(sorted(self.codes.items())),
            steps_lost=self.lost,
            steps_replayed=self.replayed,
        )

    def _attempt(self, folder: Path, fault: str | None) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        context = multiprocessing.get_context("fork")
        child = context.Process(target=_train, args=(folder, self._options()))
        child.start()
        if fault is not None:
            self._wait(child, folder)
            if child.is_alive() and strike(child.pid, fault, self.random):
                self.survived[fault] += 1
        child.join(LIMIT)
        if child.is_alive():
            child.kill()
            raise InputError(f"An attempt hung for {LIMIT} s; see {folder / 'log.txt'}.")
        self.codes[str(child.exitcode)] += 1
        if fault is None and child.exitcode != 0:
            raise InputError(
                f"An undisturbed attempt ended with code {child.exitcode}; see "
                f"{folder / 'log.txt'}."
            )

    def _wait(self, child: multiprocessing.Process, folder: Path) -> None:
        """Until an attempt is some steps further, and then to a moment within a step or a save."""
        path = folder / STEPS
        steps = self.random.randint(0, 30) + (len(lines_of(folder)) if path.exists() else 0)
        until = time.monotonic() + LIMIT
        while child.is_alive() and time.monotonic() < until:
            if path.exists() and len(lines_of(folder)) >= steps:
                break
            child.join(0.05)
        child.join(self.random.uniform(0, 0.3))

    def _options(self) -> dict[str, Any]:
        return {
            "data_root": str(self.out / "images"),
            "total_batch": 4,
            "train_dataloader.batch_size": 2,
            "train_dataloader.num_workers": 2,
            "val_dataloader.num_workers": 0,
            "val_cfg.mean_dataloader.num_workers": 0,
            "train_cfg.max_epochs": self.epochs,
            "default_hooks.checkpoint.by_epoch": False,
            "default_hooks.checkpoint.interval": 3,
            "default_hooks.logger.interval": 1,
            "param_scheduler.0.end": 2,
            "param_scheduler.1.begin": 2,
            "model.backbone.drop_path_rate": 0.2,
            "model.ema": {},
        }

    def _check(self, folder: Path, whole: Path) -> bool:
        """Count the steps that differ from the undisturbed run's -> whether all is equal."""
        wanted = {line[0]: line for line in lines_of(whole)}
        lines = lines_of(folder)
        found = {line[0]: line for line in lines}  # of a step done twice, the later
        lost = sum(found.get(number) != line for number, line in wanted.items())
        self.lost += lost
        self.replayed += len(lines) - len(found)
        parts = ("state_dict", "optimizer", "param_schedulers")
        one, other = (read_file(newest_checkpoint(path)) for path in (folder, whole))
        return lost == 0 and all(equal(one[part], other[part]) for part in parts)


def _train(folder: Path, options: dict[str, Any]) -> None:
    """In the fork: train as tools/train.py --resume auto does."""
    with (folder / "log.txt").open("ab", buffering=0) as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    sys.stdout, sys.stderr = (os.fdopen(n, "w", buffering=1, closefd=False) for n in (1, 2))
    torch.set_num_threads(1)
    with user_errors():
        cfg = load_config(LEAF, options, str(folder))
        set_resume(cfg, "auto")
        runner = build_runner(cfg)
        runner.register_hook(Steps(), priority="LOW")  # before a stop raises
        runner.train()


def strike(pid: int, fault: str, chance: random.Random) -> bool:
    """Do a fault to a running training -> whether it struck.

    'kill': SIGKILL. 'stop': SIGTERM. 'worker': SIGKILL to a loader's worker. 'disk': no file of it
    may grow past some size, as on a full disk.
    """
    try:
        if fault == "disk":
            size = chance.randrange(200_000, 2_000_000)
            hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)[1]
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (size, hard))
        elif fault == "worker":
            workers = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
            if not workers:
                return False
            os.kill(int(chance.choice(workers)), signal.SIGKILL)
        else:
            os.kill(pid, signal.SIGKILL if fault == "kill" else signal.SIGTERM)
    except (ProcessLookupError, FileNotFoundError):
        return False  # it had just ended
    return True


def lines_of(folder: Path) -> list[list]:
    """The steps that a run wrote; a line that a kill cut off is no step."""
    found = []
    for line in (folder / STEPS).read_text().splitlines():
        try:
            found.append(json.loads(line))
        except ValueError:
            continue
    return found


def equal(one: Any, other: Any) -> bool:
    """Whether nested contents are the same, tensors bit by bit."""
    if isinstance(one, torch.Tensor):
        return isinstance(other, torch.Tensor) and torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(equal(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(equal, one, other))
    return one == other


def write_images(folder: Path, count: int) -> None:
    """``count`` PNGs of 64 x 64 noise on ramps, the same every time."""
    folder.mkdir(parents=True, exist_ok=True)
    draw = np.random.default_rng(0)
    ramp = np.linspace(0, 200, 64)[:, None, None]
    for number in range(count):
        pixels = np.clip(ramp + draw.normal(scale=20, size=(64, 64, 3)), 0, 255)
        Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{number:03d}.png")
