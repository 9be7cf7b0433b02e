"""The command that a run can be repeated by, as it is written down: without its secrets."""

import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from semaim_mm.runtime.secrets import HIDDEN, KEY, line_without_secrets


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
    return shlex.join([*_starter(), f"tools/{path.name}", *shown])


def _starter() -> list[str]:
    """What starts a tool: a process a device where torchrun did so."""
    if "TORCHELASTIC_RUN_ID" not in os.environ:
        return ["python"]
    nodes = os.environ.get("GROUP_WORLD_SIZE", "1")
    several = [] if nodes == "1" else [f"--nnodes={nodes}"]
    return ["torchrun", *several, f"--nproc_per_node={os.environ['LOCAL_WORLD_SIZE']}"]


def _shown(argument: str) -> str:
    """An argument -> the same without a secret; one that is a secret's own is hidden whole."""
    key, equals, _ = argument.partition("=")
    if equals and KEY.search(key.rpartition(".")[2]):
        return f"{key}={HIDDEN}"
    # the whole first: a URL's password may stand before or behind a "="
    shown = line_without_secrets(argument)
    key, equals, value = shown.partition("=")
    return f"{key}{equals}{line_without_secrets(value)}"
