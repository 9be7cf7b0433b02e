"""The command that is written down: whole, as a shell takes it, and without secrets."""

from __future__ import annotations

import shlex

import pytest

from semaim_mm.runtime import command_line as module
from semaim_mm.runtime.command_line import command_line


@pytest.fixture(autouse=True)
def one_process(monkeypatch):
    for name in ("TORCHELASTIC_RUN_ID", "SLURM_NTASKS", *module.PER_NODE):
        monkeypatch.delenv(name, raising=False)


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


@pytest.mark.parametrize(
    ("told", "starter"),
    [
        (dict(SLURM_STEP_TASKS_PER_NODE="4(x2)"), "srun --ntasks=8 --ntasks-per-node=4"),
        (dict(SLURM_TASKS_PER_NODE="8"), "srun --ntasks=8 --ntasks-per-node=8"),
        (dict(SLURM_NTASKS_PER_NODE="2"), "srun --ntasks=8 --ntasks-per-node=2"),
        # the step's own share counts, not that of the job it is in
        (
            dict(SLURM_TASKS_PER_NODE="16", SLURM_STEP_TASKS_PER_NODE="8"),
            "srun --ntasks=8 --ntasks-per-node=8",
        ),
        (dict(SLURM_STEP_TASKS_PER_NODE="4,3,1"), "srun --ntasks=8"),
        ({}, "srun --ntasks=8"),
    ],
)
@pytest.mark.parametrize("launcher", ["--launcher slurm", "--launcher=slurm", "--launch slurm"])
def test_slurms_tasks_are_started_as_they_were(monkeypatch, told, starter, launcher):
    for name, value in (told | dict(SLURM_NTASKS="8")).items():
        monkeypatch.setenv(name, value)
    rest = f"a.py {launcher} --cfg-options lr=1"
    line = command_line(["tools/train.py", *rest.split()])
    assert line == f"{starter} python tools/train.py {rest}"


@pytest.mark.parametrize("rest", [["a.py"], ["a.py", "slurm"], ["a.py", "--launcher", "none"]])
def test_one_process_inside_a_slurm_job_needs_no_srun(monkeypatch, rest):
    monkeypatch.setenv("SLURM_NTASKS", "8")
    assert command_line(["tools/train.py", *rest]) == shlex.join(
        ["python", "tools/train.py", *rest]
    )


def test_torchrun_inside_a_slurm_job_is_torchrun(monkeypatch):
    monkeypatch.setenv("SLURM_NTASKS", "1")
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "1")
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    monkeypatch.setenv("GROUP_WORLD_SIZE", "2")
    line = command_line(["tools/train.py", "a.py", "--launcher", "pytorch"])
    assert line.startswith("torchrun --nnodes=2 --nproc_per_node=4 tools/train.py a.py")
