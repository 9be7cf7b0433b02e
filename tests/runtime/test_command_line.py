"""The command that is written down: whole, as a shell takes it, and without secrets."""

from __future__ import annotations

import shlex

import pytest

from semaim_mm.runtime import command_line as module
from semaim_mm.runtime.command_line import command_line


@pytest.fixture(autouse=True)
def one_process(monkeypatch):
    monkeypatch.delenv("TORCHELASTIC_RUN_ID", raising=False)


def test_a_tools_arguments_come_back_from_a_shell(tmp_path):
    given = ["configs/a b.py", "--cfg-options", "classes=['cat','a dog']", "lr=1e-3"]
    line = command_line([str(tmp_path / "tools/test.py"), *given])
    assert shlex.split(line) == ["python", "tools/test.py", *given]


def test_paths_below_the_repository_are_told_from_it(tmp_path):
    line = command_line([str(tmp_path / "tools/test.py"), f"{tmp_path}/work_dirs/epoch_1.pth"])
    assert line == "python tools/test.py work_dirs/epoch_1.pth"


def test_what_no_tool_ran_has_no_command():
    assert command_line(["/somewhere/pytest/__main__.py", "-q"]) is None
    assert command_line(["", "-c"]) is None


@pytest.mark.parametrize(
    "argument",
    [
        "visualizer.password=tell no one",
        "a.api_key=tell",
        "model=dict(token='tell no one')",
        "url=https://me:tell@host.example/x",
    ],
)
def test_secrets_are_hidden_whole(argument):
    line = command_line(["tools/train.py", "--cfg-options", argument])
    assert "tell" not in line and "no one" not in line and module.HIDDEN in line


def test_several_processes_are_started_as_they_were(monkeypatch):
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "1")
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    monkeypatch.setenv("GROUP_WORLD_SIZE", "1")
    line = command_line(["tools/test.py", "a.py", "--launcher", "pytorch"])
    assert line == "torchrun --nproc_per_node=4 tools/test.py a.py --launcher pytorch"
