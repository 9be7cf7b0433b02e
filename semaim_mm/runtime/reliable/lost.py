"""What ends a run from outside its own code, told as a sentence: lost ranks, workers of loaders."""

import re
import sys
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from mmengine.dist import get_rank, get_world_size
from mmengine.runner import BaseLoop, Runner

from semaim_mm.errors import InputError
from semaim_mm.runtime.reliable.hang import EXIT_CODE

GO_ON = "the same command with --resume auto goes on from the newest checkpoint."
SECONDS_TO_DIE = 5  # that a worker whose connection ended may take to be gone
LOST = r"Connection (closed|reset|refused)|[Tt]imed out waiting|Broken pipe|remote process exited"


@contextmanager
def told_in_sentences(runner: Runner) -> Iterator[None]:
    """Raise InputError for a loader's dead or silent worker; leave where a rank is lost.

    The latter exits with hang.EXIT_CODE, for nothing can be agreed on any more.
    """
    try:
        yield
    except InputError:
        raise
    except (RuntimeError, SyntaxError, OSError, EOFError) as error:
        # torch tells of a dead worker wherever the main thread is: what that was doing, writing a
        # checkpoint or formatting the config, may put an error of its own on top, and may be this
        try:
            told = _told(error)
        except RuntimeError as death:
            told = of_a_loader(str(death))
        place = _place(runner)
        if told is not None:
            raise InputError(f"{told} It was at {place}; {GO_ON}") from error
        if get_world_size() > 1 and is_of_a_lost_rank(error):
            first = str(error).splitlines()[0][:200]
            print(
                f"error: rank {get_rank()} lost another rank of {get_world_size()} at {place} "
                f"({first}): that one ended or its machine is gone, and its own output says why; "
                f"{GO_ON}",
                file=sys.stderr,
                flush=True,
            )
            raise SystemExit(EXIT_CODE) from error
        raise


def _told(error: BaseException) -> str | None:
    """The sentence about a loader's worker that an error, or what it covers, comes from."""
    told = next(filter(None, map(of_a_loader, _texts(error))), None)
    if told is not None or not _is_cut_off(error):
        return told
    # torch raises once the worker is gone: it has to do so in here, not on the way out
    time.sleep(SECONDS_TO_DIE)
    return _dead("", f"{type(error).__name__} in the middle of a batch")


def _texts(error: BaseException | None) -> Iterator[str]:
    while error is not None:
        yield str(error)
        error = error.__context__


def _is_cut_off(error: BaseException) -> bool:
    """Whether a worker died in the middle of handing a batch over.

    Its connection ends before the system tells of its death, so torch takes it for alive and
    leaves the connection's error as it is.
    """
    if not isinstance(error, (ConnectionError, EOFError)):
        return False
    # what a worker itself ran into is raised anew elsewhere in the loader
    calls = (frame.f_code.co_name for frame, _ in traceback.walk_tb(error.__traceback__))
    return "_try_get_data" in calls


def _dead(worker: str, how: str) -> str:
    return (
        f"The data loader's worker {worker}{' ' if worker else ''}died ({how}): by hand, or out of "
        "memory, as the system's log would say; lower num_workers then."
    )


def of_a_loader(text: str) -> str | None:
    """The text of torch's error -> the sentence about its loader's worker, None for others."""
    late = re.search(r"DataLoader timed out after (\S+) seconds", text)
    if late:
        return (
            f"A worker of a data loader has given nothing for {late[1]} seconds: a file system "
            "that hangs, or too little time for a batch (the loader's timeout, in seconds)."
        )
    if "Pin memory thread exited unexpectedly" in text:
        return _dead("", "the thread that pins its batches ended")
    died = re.search(r"DataLoader worker \(pid(?:\(s\))? ([\d, ]+)\) (.*)", text)
    if died is None:
        return None
    if "Bus error" in died[2]:
        return (
            f"The data loader's worker {died[1]} ran out of shared memory; give /dev/shm more, or "
            "lower num_workers or batch_size."
        )
    return _dead(died[1], died[2].split(".")[0].strip())


def is_of_a_lost_rank(error: Exception) -> bool:
    """Whether an error is what gloo or NCCL raise where another process no longer answers."""
    if not isinstance(error, RuntimeError):
        return False
    return isinstance(error, torch.distributed.DistError) or bool(re.search(LOST, str(error)))


def _place(runner: Runner) -> str:
    # the loops of this run alone: asking for another one would build its data set
    loops = (runner._train_loop, runner._val_loop, runner._test_loop)
    if isinstance(loops[0], BaseLoop):
        return f"iteration {runner.iter + 1}"
    return "the validation" if isinstance(loops[1], BaseLoop) else "the test"
