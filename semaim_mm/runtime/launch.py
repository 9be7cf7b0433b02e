"""From a config file to a runner: the part that all command-line tools share."""

import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.logging import print_log
from mmengine.registry import RUNNERS
from mmengine.runner import Runner

from semaim_mm.errors import InputError
from semaim_mm.runtime.reliable.newest import newest_checkpoint
from semaim_mm.runtime.reliable.stop import Stopped


def load_config(
    path: str, options: dict | None = None, work_dir: str | None = None, launcher: str = "none"
) -> Config:
    """Read a config, merge overrides, and name its work dir after its folder and file."""
    if not Path(path).is_file():
        raise InputError(f"There is no config file at {path}; see configs/ for those shipped.")
    cfg = Config.fromfile(path)
    if options:
        try:
            cfg.merge_from_dict(options)
        except (TypeError, LookupError, ValueError) as error:
            raise InputError(f"An override does not fit {path}: {error}; mend it.") from error
    cfg.launcher = launcher
    if work_dir is not None or cfg.get("work_dir") is None:
        cfg.work_dir = work_dir or str(default_work_dir(path))
    return cfg


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
    if torch.distributed.is_initialized():
        # a process that leaves while its peers still talk to it aborts them
        torch.distributed.barrier()
        torch.distributed.destroy_process_group()
    if code:
        sys.exit(code)


def sentence(error: InputError) -> Any:
    """The sentence of an error, also where a loader's worker wrapped it in its own trace."""
    return re.split(r"semaim_mm\.errors\.\w+: ", str(error))[-1].strip()
