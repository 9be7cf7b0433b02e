"""Running a tool of tools/ in this process, and finding out whether a command says it right."""

from __future__ import annotations

import importlib.util
import inspect
import os
import re
import subprocess
import sys
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

import pytest
from doc_blocks import ROOT, help_text
from doc_fences import Command
from mmengine.config import Config

from semaim_mm.errors import InputError
from semaim_mm.interop.backbone_checkpoint import load_backbone_weights
from semaim_mm.interop.conventions import FACTS

# what a tool says where data, weights or the like are not there, and nothing else is wrong
MISSING = re.compile(
    r"There is no (checkpoint file|image folder|annotation file|folder|image|checkpoint in)"
    r"|The emoji|packages? (is|are) missing|is not there|no packages"
)
# keys that a leaf may lack and the runner knows
BEYOND = {"holdout", "test_set", "classes", "num_classes", "accumulate", "data_root"}
BEYOND |= {"tolerated_annotations", "pretraining_data"}
INIT = {*inspect.signature(load_backbone_weights).parameters, *FACTS, "checkpoint", "prefix"}
# parts that take more arguments than their config gives
OPEN = ("model.backbone", "test_cfg", "test_cfg.bank_dataloader.dataset.subset")


def module_of(tool: str) -> ModuleType:
    """A tool's path -> its module, loaded anew."""
    spec = importlib.util.spec_from_file_location(f"doc_{Path(tool).stem}", ROOT / tool)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def run(tool: str, words: list[str], patch: Callable[[ModuleType], None] | None = None) -> int:
    """Run a tool as the shell would -> its exit code.

    Raises InputError as the tool does; fails where argparse refuses the arguments.
    """
    module = module_of(tool)
    if patch:
        patch(module)
    with arguments(tool, words):
        try:
            return module.main() or 0
        except SystemExit as end:
            if end.code == 2:
                pytest.fail(f"{tool} does not take {words}")
            return int(end.code or 0)


@contextmanager
def arguments(tool: str, words: list[str]):
    """``sys.argv`` for a while."""
    former = sys.argv
    sys.argv = [tool, *words]
    try:
        yield
    finally:
        sys.argv = former


def runs_but_for_data(tool: str, words: list[str], **how) -> None:
    """A tool takes its arguments and goes on until it lacks data or weights, or to its end."""
    try:
        run(tool, words, **how)
    except InputError as error:
        assert MISSING.search(str(error)), f"{tool} {' '.join(words)}: {error}"


def launched(command: Command, stub: str, folder: Path) -> list[str]:
    """A launcher of tools/*.sh -> the Python tool that ``stub`` would start, and its arguments."""
    folder.mkdir(exist_ok=True)
    (folder / stub).write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    (folder / stub).chmod(0o755)
    done = subprocess.run(
        [str(ROOT / command.program), *command.words],
        env={**os.environ, **command.env, "PATH": f"{folder}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, f"{command.place}: {done.stderr}"
    words = done.stdout.splitlines()
    start = next(i for i, word in enumerate(words) if word.endswith((".py",)) and "tools/" in word)
    tool = Path(words[start]).relative_to(ROOT).as_posix()
    rest = words[start + 1 :]
    at = rest.index("--launcher")
    return [tool, *rest[:at], *rest[at + 2 :]]


def check_options(command_place: str, words: list[str]) -> None:
    """Every --cfg-options key of a command must be one that its config has or the runner knows."""
    leaf = next(word for word in words if word.startswith("configs/"))
    cfg = Config.fromfile(leaf)
    for word in options_of(words):
        key, _, value = word.partition("=")
        assert value, f"{command_place}: {word} gives {key} no value"
        assert known(cfg, key), f"{command_place}: {leaf} has no {key}"


def options_of(words: list[str]) -> list[str]:
    """Arguments -> what stands after --cfg-options."""
    found, inside = [], False
    for word in words:
        if word.startswith("--"):
            inside = word == "--cfg-options"
        elif inside:
            found.append(word)
    return found


def known(cfg: Config, key: str) -> bool:
    """Whether a dotted key names a place of a config, or what the runner or init_cfg takes."""
    if key in BEYOND:
        return True
    *way, last = key.split(".")
    if way and way[-1] == "init_cfg" and last in INIT:
        return True
    place = cfg
    for part in (*way, last):
        if isinstance(place, list | tuple):
            place = place[int(part)]
        elif part in place:
            place = place[part]
        else:
            return part == last and ".".join(way) in OPEN
    return True


def flags_of(tool: str, *subcommand: str) -> set[str]:
    """A tool -> the flags that its help, or a sub-command's, names."""
    return set(re.findall(r"--[\w-]+", help_text(tool, *subcommand)))
