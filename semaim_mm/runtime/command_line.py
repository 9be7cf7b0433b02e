"""The command that a run can be repeated by, as it is written down: without its secrets."""

import argparse
import os
import re
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from semaim_mm.runtime.secrets import HIDDEN, KEY, line_without_secrets

# tasks on each machine, the step's own first: "4", "4(x2)" or, where they differ, "4,3"
PER_NODE = ("SLURM_STEP_TASKS_PER_NODE", "SLURM_TASKS_PER_NODE", "SLURM_NTASKS_PER_NODE")


def command_line(arguments: Sequence[str] | None = None) -> str | None:
    """-> the line for a shell in the repository's folder; None where no file of tools/ was run.

    Args:
        arguments: path of the tool and what follows it; default: this process's own.
    """
    tool, *rest = sys.argv if arguments is None else arguments
    path = Path(tool)
    if path.suffix != ".py" or path.resolve().parent.name != "tools":
        return None
    root = f"{path.resolve().parents[1]}/"
    shown = [_shown(argument).removeprefix(root) for argument in rest]
    return shlex.join([*_starter(rest), f"tools/{path.name}", *shown])


def srun(tasks: int | str, per_node: int | str | None) -> list[str]:
    """What starts a tool's processes by Slurm; None: each machine has another number of them."""
    shared = [] if per_node is None else [f"--ntasks-per-node={per_node}"]
    return ["srun", f"--ntasks={tasks}", *shared]


def _starter(arguments: Sequence[str]) -> list[str]:
    """What starts a tool: a process a device where torchrun or Slurm did so."""
    if "TORCHELASTIC_RUN_ID" in os.environ:
        nodes = os.environ.get("GROUP_WORLD_SIZE", "1")
        several = [] if nodes == "1" else [f"--nnodes={nodes}"]
        return ["torchrun", *several, f"--nproc_per_node={os.environ['LOCAL_WORLD_SIZE']}"]
    # a job of one process has Slurm's variables too; the launcher says what they were used for
    tasks = os.environ.get("SLURM_NTASKS")
    if tasks is None or _launcher(arguments) != "slurm":
        return ["python"]
    told = next(filter(None, map(os.environ.get, PER_NODE)), "")
    even = re.fullmatch(r"(\d+)(\(x\d+\))?", told)
    return [*srun(tasks, even and even[1]), "python"]


def _launcher(arguments: Sequence[str]) -> str | None:
    parser = argparse.ArgumentParser(add_help=False)  # shortened as the tools take it, and with "="
    parser.add_argument("--launcher")
    return parser.parse_known_args(arguments)[0].launcher


def _shown(argument: str) -> str:
    """An argument -> the same without a secret; one that is a secret's own is hidden whole."""
    key, equals, _ = argument.partition("=")
    if equals and KEY.search(key.rpartition(".")[2]):
        return f"{key}={HIDDEN}"
    # the whole first: a URL's password may stand before or behind a "="
    shown = line_without_secrets(argument)
    key, equals, value = shown.partition("=")
    return f"{key}{equals}{line_without_secrets(value)}"
