"""A data loader's worker that dies or gives nothing ends the run with a sentence: rows 13, 14."""

from __future__ import annotations

import os
import signal
import time
from threading import Timer
from types import SimpleNamespace

import fault_runs as runs
import pytest
import shipped_leaves as shipped
from torch.utils.data import DataLoader, get_worker_info

from semaim_mm.data.keyed import KeyedDataset
from semaim_mm.errors import InputError
from semaim_mm.runtime.reliable import lost
from semaim_mm.runtime.reliable.lost import of_a_loader, told_in_sentences
from semaim_mm.runtime.runner import LOADER_SECONDS, TransferRunner

BOUND = 60


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return tmp_path_factory.mktemp("workers")


def in_a_worker(act):
    """A fault: a worker does this when it is asked for a certain sample of the second epoch."""

    def fault(runner) -> None:
        read = KeyedDataset.__getitem__

        def item(self, key):
            if get_worker_info() is not None and key.epoch == 1 and key.sample == 3:
                act()
            return read(self, key)

        KeyedDataset.__getitem__ = item

    return fault


@pytest.mark.slow
def test_a_worker_that_is_killed_ends_the_run_which_then_goes_on(place, tmp_path):
    given = shipped.pretraining(place, workers=2)
    die = in_a_worker(lambda: os.kill(os.getpid(), signal.SIGKILL))
    begun = time.monotonic()
    ended = runs.train(shipped.PRETRAIN, given, tmp_path, die)
    assert time.monotonic() - begun < BOUND
    assert ended.code == 2, ended.out[-3000:]
    (told,) = [line for line in ended.out.splitlines() if line.startswith("error: ")]
    assert "The data loader's worker" in told and "died" in told and "at iteration" in told
    assert "Traceback" not in ended.out
    assert runs.train(shipped.PRETRAIN, given, tmp_path).code == 0


@pytest.mark.slow
def test_a_worker_that_hangs_ends_the_run_within_the_loaders_timeout(place, tmp_path):
    given = shipped.pretraining(place, workers=2) | {"train_dataloader.timeout": 5}
    begun = time.monotonic()
    ended = runs.train(
        shipped.PRETRAIN, given, tmp_path, in_a_worker(lambda: time.sleep(runs.LIMIT))
    )
    assert time.monotonic() - begun < BOUND
    assert ended.code == 2, ended.out[-3000:]
    assert "error: A worker of a data loader has given nothing for 5 seconds" in ended.out
    assert "Traceback" not in ended.out


def loader(**changes) -> dict:
    sampler = dict(type="DefaultSampler", shuffle=False)
    dataset = dict(type="mmengine.BaseDataset", lazy_init=True)
    return dict(batch_size=1, sampler=sampler, dataset=dataset, **changes)


@pytest.mark.parametrize(
    ("given", "seconds"),
    [(dict(num_workers=2), LOADER_SECONDS), (dict(num_workers=1, timeout=7), 7)],
)
def test_every_loader_with_workers_has_a_timeout(given, seconds):
    dataset = [0, 1]
    cfg = loader(**given) | dict(dataset=dataset)
    assert TransferRunner.build_dataloader(cfg, seed=0).timeout == seconds > 0


def test_a_loader_without_workers_has_none():
    cfg = loader(num_workers=0, timeout=7) | dict(dataset=[0, 1])
    assert TransferRunner.build_dataloader(cfg, seed=0).timeout == 0


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("DataLoader timed out after 5 seconds", "has given nothing for 5 seconds"),
        (
            "DataLoader worker (pid 12) is killed by signal: Killed. ",
            "worker 12 died (is killed by",
        ),
        ("DataLoader worker (pid(s) 1, 2) exited unexpectedly", "worker 1, 2 died (exited"),
        ("Pin memory thread exited unexpectedly", "worker died (the thread"),
        ("DataLoader worker (pid 3) is killed by signal: Bus error. It is", "shared memory"),
    ],
)
def test_what_torch_says_of_workers_is_told_in_a_sentence(text, told):
    assert told in of_a_loader(text)


def test_a_worker_that_dies_while_a_checkpoint_is_written_is_told():
    runner = SimpleNamespace(_train_loop=None, _val_loop=None, _test_loop=None)
    with pytest.raises(InputError, match="worker 12 died"), told_in_sentences(runner):
        try:
            raise RuntimeError("DataLoader worker (pid 12) is killed by signal: Killed. ")
        finally:
            raise RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos 3 vs 2")


class CutOff:
    """A sample whose bytes end in the middle, as those of a worker that has just died do."""

    def __reduce__(self):
        return _end_of_connection, ()


def _end_of_connection():
    raise ConnectionResetError(104, "Connection reset by peer")


class Samples:
    def __init__(self, make):
        self.make = make

    def __len__(self) -> int:
        return 1

    def __getitem__(self, index):
        return self.make()


class LastWords(CutOff):
    """The same; the worker is gone a moment later."""

    def __reduce__(self):
        Timer(0.5, os.kill, (os.getpid(), signal.SIGKILL)).start()
        return super().__reduce__()


def test_a_worker_that_is_gone_after_its_connection_is_told_once():
    runner = SimpleNamespace(_train_loop=None, _val_loop=None, _test_loop=None)
    batches = iter(DataLoader(Samples(LastWords), num_workers=1, batch_size=None))
    told = pytest.raises(InputError, match=r"worker \d+ died .is killed by signal: Killed")
    with told, told_in_sentences(runner):
        next(batches)
    time.sleep(1)  # where torch would raise if it had not done so


def test_a_worker_that_dies_in_the_middle_of_a_batch_is_told(monkeypatch):
    monkeypatch.setattr(lost, "SECONDS_TO_DIE", 0.1)
    runner = SimpleNamespace(_train_loop=None, _val_loop=None, _test_loop=None)
    batches = DataLoader(Samples(CutOff), num_workers=1, batch_size=None)
    told = pytest.raises(InputError, match="worker died .ConnectionResetError")
    with told, told_in_sentences(runner):
        next(iter(batches))


def test_a_connection_that_a_living_worker_lost_is_left_as_it_is():
    runner = SimpleNamespace(_train_loop=None, _val_loop=None, _test_loop=None)
    batches = DataLoader(Samples(_end_of_connection), num_workers=1, batch_size=None)
    with pytest.raises(ConnectionResetError), told_in_sentences(runner):
        next(iter(batches))


def test_other_errors_are_left_as_they_are():
    assert of_a_loader("CUDA out of memory") is None
