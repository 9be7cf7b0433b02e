"""From a config file to a runner: the part that all command-line tools share."""

import os
import re
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.logging import print_log
from mmengine.registry import RUNNERS
from mmengine.runner import Runner

from semaim_mm.errors import InputError
from semaim_mm.runtime.hooks import unwrap
from semaim_mm.runtime.places import without_place
from semaim_mm.runtime.reliable.newest import newest_checkpoint
from semaim_mm.runtime.reliable.stop import Stopped

_parsed: ContextVar[dict[str, Config] | None] = ContextVar("configs by path", default=None)


def load_config(
    path: str, options: dict | None = None, work_dir: str | None = None, launcher: str = "none"
) -> Config:
    """Read a config, merge overrides, and name its work dir after its folder and file.

    Raises:
        InputError: no such file, a file that is no config, an override that nothing would read.
    """
    if not Path(path).is_file():
        raise InputError(f"There is no config file at {path}; see configs/ for those shipped.")
    cfg = read_config(path)
    if options:
        absent = without_place(cfg.to_dict(), options)
        if absent:
            raise InputError(
                f"{path} has no part that would take {', '.join(absent)}, so it would change "
                "nothing; mend the key."
            )
        try:
            cfg.merge_from_dict(options)
        except (TypeError, LookupError, ValueError) as error:
            raise InputError(f"An override does not fit {path}: {error}; mend it.") from error
    cfg.launcher = launcher
    if work_dir is not None or cfg.get("work_dir") is None:
        cfg.work_dir = work_dir or str(default_work_dir(path))
    return cfg


@contextmanager
def configs_read_once() -> Iterator[None]:
    """Inside, each config file is parsed once: to look at a suite's many stages in seconds.

    A file that changes meanwhile is not seen to, so nothing that runs for long belongs inside.
    """
    if _parsed.get() is not None:
        yield
        return
    token = _parsed.set({})
    try:
        yield
    finally:
        _parsed.reset(token)


def read_config(path: str) -> Config:
    """A file as it is, nothing merged. Raises InputError for one that is no config."""
    parsed = _parsed.get()
    if parsed is None:
        return _parse(path)
    if path not in parsed:
        parsed[path] = _parse(path)
    return deepcopy(parsed[path])


def _parse(path: str) -> Config:
    try:
        return Config.fromfile(path)
    except InputError:
        raise
    except Exception as error:  # whatever Python code in a file of a user's own may raise
        if os.environ.get("SEMAIM_DEBUG") == "1":
            raise
        line = getattr(error, "lineno", None)
        place = f"{path}, line {line}" if line else path
        raise InputError(
            f"{place} can't be read as a config ({type(error).__name__}: {error}); mend it. "
            "SEMAIM_DEBUG=1 shows the trace."
        ) from error


def set_checkpoint(cfg: Config, checkpoint: str | None) -> None:
    """Put a checkpoint where the config's ``checkpoint_key`` wants it.

    Without that key it holds the whole model (``load_from``). 'random' means the untrained model,
    asked for by name and never by accident.
    """
    key = cfg.get("checkpoint_key", "load_from")
    if key is None:
        if checkpoint is not None:
            raise InputError("This config evaluates no weights; leave the CHECKPOINT out.")
    elif checkpoint is None:
        raise InputError(
            "This config needs a CHECKPOINT; give its path, or the word 'random' for an untrained "
            "model."
        )
    elif checkpoint != "random":
        cfg.merge_from_dict({key: checkpoint})
    elif (cfg.model.get("backbone") or {}).get("init_cfg"):
        cfg.model.backbone.init_cfg.checkpoint = checkpoint


def set_resume(cfg: Config, resume: str | None) -> None:
    """Go on from a checkpoint: 'newest' of the work dir, 'auto' if there is one, or a path."""
    if resume is None:
        return
    named = resume not in ("newest", "auto")
    cfg.resume_newest = not named
    found = resume if named else newest_checkpoint(cfg.work_dir)
    if found is None and resume == "newest":
        raise InputError(
            f"There is no checkpoint in {cfg.work_dir} to go on from; name one, or say "
            "--resume auto to start anew where there is none."
        )
    if found is None:
        print_log(f"no checkpoint in {cfg.work_dir}: starting anew")
        return
    cfg.resume, cfg.load_from = True, found


def default_work_dir(path: str) -> Path:
    """configs/pretrain/semaim_vitb.py -> work_dirs/pretrain/semaim_vitb."""
    path = Path(path)
    return Path("work_dirs") / path.parent.name / path.stem


def use_cpu_group(cfg: Config) -> None:
    """Let torchrun's processes meet over gloo where there is no accelerator; mmengine wants one."""
    if cfg.get("launcher") != "pytorch" or torch.cuda.is_available():
        return
    if not torch.distributed.is_initialized():
        torch.distributed.init_process_group("gloo")
    stated = cfg.get("model_wrapper_cfg") or {}
    # no device ids: on the CPU torch refuses any
    cfg.model_wrapper_cfg = dict(type="MMDistributedDataParallel") | stated | dict(device_ids=None)


def build_runner(cfg: Config) -> Runner:
    """-> the runner that ``runner_type`` names, mmengine's own where it names none."""
    use_cpu_group(cfg)
    return RUNNERS.build(cfg) if "runner_type" in cfg else Runner.from_cfg(cfg)


def draw_untrained(runner: Runner) -> None:
    """Give the model 'random' stands for its weights, as training starts; mmengine's test doesn't.

    All that tests or shows an untrained model draws it so, right after the runner is built.
    """
    unwrap(runner.model).init_weights()


@contextmanager
def user_errors() -> Iterator[None]:
    """Print an InputError as its sentence and exit with 2; ``SEMAIM_DEBUG=1`` shows the trace.

    A training that a signal stopped exits with stop.EXIT_CODE, its checkpoint saved.
    """
    code = 0
    try:
        yield
    except Stopped as stopped:
        print(stopped.sentence, file=sys.stderr)
        code = stopped.code
    except InputError as error:
        if os.environ.get("SEMAIM_DEBUG") == "1":
            raise
        print(f"error: {sentence(error)}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("stopped: the same command goes on from here where it can.", file=sys.stderr)
        sys.exit(130)
    except Exception as error:  # raised again: a user reads a sentence first, we the trace
        print(f"error: {unexpected(error)}", file=sys.stderr)
        raise
    if torch.distributed.is_initialized():
        # a process that leaves while its peers still talk to it aborts them
        torch.distributed.barrier()
        torch.distributed.destroy_process_group()
    if code:
        sys.exit(code)


def unexpected(error: Exception) -> str:
    """A sentence to stand above the trace of an error that this package did not foresee."""
    frames = traceback.extract_tb(error.__traceback__)
    first = str(error).strip().splitlines()[:1]
    told = f"{type(error).__name__}: {first[0] if first else 'it says no more'}"
    if any(Path(frame.filename).name == "build_functions.py" for frame in frames):
        return f"What the config names could not be built ({told}); mend it. The trace follows."
    return f"{told}. Nothing here foresaw that; the trace follows, for a report of it."


def sentence(error: InputError) -> Any:
    """The sentence of an error, also where a loader's worker wrapped it in its own trace."""
    return re.split(r"semaim_mm\.errors\.\w+: ", str(error))[-1].strip()
