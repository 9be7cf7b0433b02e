"""setup.py, the lock and the launchers agree with each other; no network is needed."""

from __future__ import annotations

import ast
import os
import re
import runpy
import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from unittest import mock

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
PIN = re.compile(r"^([a-z0-9][a-z0-9._-]*)==(\S+) \\$")
HASH = re.compile(r"^    --hash=sha256:[0-9a-f]{64}( \\)?$")


def read_lock() -> dict[str, tuple[str, int]]:
    """name -> version and number of hashes, of each entry of requirements.lock."""
    lock: dict[str, tuple[str, int]] = {}
    for line in (ROOT / "requirements.lock").read_text().splitlines():
        if line.lstrip().startswith("#"):
            continue
        if pin := PIN.match(line):
            name = pin[1]
            lock[name] = (pin[2], 0)
        else:
            assert HASH.match(line), f"neither a pin nor a hash: {line!r}"
            lock[name] = (lock[name][0], lock[name][1] + 1)
    return lock


def read_setup() -> dict:
    """What setup.py hands to setuptools."""
    with mock.patch("setuptools.setup") as called:
        runpy.run_path(str(ROOT / "setup.py"))
    return called.call_args.kwargs


LOCK = read_lock()
SETUP = read_setup()
STATED = [
    *SETUP["install_requires"],
    *(line for extra in SETUP["extras_require"].values() for line in extra),
]


@pytest.mark.parametrize("line", STATED)
def test_the_lock_pins_each_stated_dependency_within_its_range(line):
    requirement = Requirement(line)
    version, _ = LOCK[canonicalize_name(requirement.name)]
    assert requirement.specifier.contains(version)


def test_setup_states_every_package_that_the_code_imports():
    stated = {canonicalize_name(Requirement(line).name) for line in STATED}
    providers = metadata.packages_distributions()
    unstated = {}
    for path in sorted([*ROOT.glob("semaim_mm/**/*.py"), *ROOT.glob("tools/*.py")]):
        for name in imported_modules(path) - set(sys.stdlib_module_names) - {"semaim_mm"}:
            if not stated & {canonicalize_name(p) for p in providers.get(name, [])}:
                unstated.setdefault(name, str(path.relative_to(ROOT)))
    assert unstated == {}, "add these to setup.py, then make lock"


def imported_modules(path: Path) -> set[str]:
    """Top-level names of what a file imports, anywhere in it."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module.split(".")[0])
    return names


def test_every_entry_of_the_lock_has_a_hash():
    assert len(LOCK) > 50
    assert [name for name, (_, hashes) in LOCK.items() if not hashes] == []


def test_the_lock_names_no_index_and_only_the_headless_opencv():
    text = (ROOT / "requirements.lock").read_text()
    assert "://" not in text
    assert "--index-url" not in text and "--find-links" not in text
    assert "opencv-python-headless" in LOCK and "opencv-python" not in LOCK


def fake_commands(folder: Path, *names: str) -> dict[str, str]:
    """An environment whose first commands print their arguments, one a line."""
    for name in names:
        command = folder / name
        command.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
        command.chmod(0o755)
    unset = {"NNODES", "NODE_RANK", "MASTER_ADDR", "PORT", "GPUS", "GPUS_PER_NODE", "PYTHON"}
    unset |= {"CPUS_PER_TASK", "SRUN_ARGS"}
    kept = {name: value for name, value in os.environ.items() if name not in unset}
    return {**kept, "PATH": f"{folder}{os.pathsep}{os.environ['PATH']}"}


def launch(script: str, *arguments: str, env: dict[str, str]) -> subprocess.CompletedProcess:
    """Run one of the launchers."""
    return subprocess.run(
        [str(ROOT / "tools" / script), *arguments],
        env=env,
        capture_output=True,
        text=True,
        timeout=30,
    )


def test_dist_train_defaults_to_one_machine(tmp_path):
    done = launch(
        "dist_train.sh",
        *("configs/a config.py", "8", "--resume", "--cfg-options", "a=1"),
        env=fake_commands(tmp_path, "torchrun"),
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "--nnodes=1",
        "--node_rank=0",
        "--nproc_per_node=8",
        "--master_addr=127.0.0.1",
        "--master_port=29500",
        str(ROOT / "tools" / "train.py"),
        "configs/a config.py",
        *("--launcher", "pytorch", "--resume", "--cfg-options", "a=1"),
    ]


def test_dist_train_honours_the_cluster_variables(tmp_path):
    env = fake_commands(tmp_path, "torchrun")
    cluster = {"NNODES": "4", "NODE_RANK": "2", "MASTER_ADDR": "10.0.0.7", "PORT": "1234"}
    done = launch("dist_train.sh", "c.py", "8", env={**env, **cluster})
    assert done.stdout.splitlines()[:5] == [
        "--nnodes=4",
        "--node_rank=2",
        "--nproc_per_node=8",
        "--master_addr=10.0.0.7",
        "--master_port=1234",
    ]


def test_dist_test_hands_over_the_checkpoint(tmp_path):
    env = fake_commands(tmp_path, "torchrun")
    done = launch("dist_test.sh", "c.py", "epoch_1.pth", "2", "--tta", env=env)
    assert done.stdout.splitlines()[2] == "--nproc_per_node=2"
    assert done.stdout.splitlines()[5:] == [
        str(ROOT / "tools" / "test.py"),
        *("c.py", "epoch_1.pth", "--launcher", "pytorch", "--tta"),
    ]


def test_slurm_train_builds_the_srun_line(tmp_path):
    env = fake_commands(tmp_path, "srun")
    settings = {"GPUS": "16", "CPUS_PER_TASK": "10", "SRUN_ARGS": "--qos=high --time=1:00"}
    done = launch(
        "slurm_train.sh",
        *("gpu", "job", "c.py", "work dir", "--resume"),
        env={**env, **settings, "PYTHON": "python3.11"},
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "--partition=gpu",
        "--job-name=job",
        "--gres=gpu:8",
        "--ntasks=16",
        "--ntasks-per-node=8",
        "--cpus-per-task=10",
        "--kill-on-bad-exit=1",
        "--qos=high",
        "--time=1:00",
        *("python3.11", "-u", str(ROOT / "tools" / "train.py")),
        *("c.py", "--work-dir", "work dir", "--launcher", "slurm", "--resume"),
    ]


@pytest.mark.parametrize(
    ("script", "arguments", "settings"),
    [
        ("dist_train.sh", ["c.py"], {}),
        ("dist_train.sh", ["c.py", "--resume"], {}),
        ("dist_test.sh", ["c.py", "epoch_1.pth"], {}),
        ("dist_test.sh", ["c.py", "epoch_1.pth", "0"], {}),
        ("slurm_train.sh", ["gpu", "job", "c.py"], {}),
        ("slurm_train.sh", ["gpu", "job", "c.py", "w"], {"GPUS": "all"}),
        ("slurm_train.sh", ["gpu", "job", "c.py", "w"], {"GPUS": "12", "GPUS_PER_NODE": "8"}),
    ],
)
def test_a_launcher_that_is_used_wrongly_says_how_and_exits_2(
    script, arguments, settings, tmp_path
):
    env = fake_commands(tmp_path, "torchrun", "srun")
    done = launch(script, *arguments, env={**env, **settings})
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("Usage: ") and done.stderr.rstrip().endswith(".")


def test_setup_refuses_an_interpreter_that_the_lock_does_not_fit():
    env = {**os.environ, "PYTHON": "false"}
    done = launch("setup.sh", env=env)
    assert done.returncode == 1
    assert done.stderr.startswith("setup: PYTHON=false is not a Python 3.11 or 3.12, ")


def test_setup_that_can_not_compile_says_what_compiling_takes(tmp_path):
    python = tmp_path / "python"  # a pip that installs all but the sources
    python.write_text(
        '#!/bin/sh\ncase "$*" in\n*--no-build-isolation*) exit 1 ;;\n'
        f'-c*) exec {sys.executable} "$@" ;;\n'
        '"-m venv"*) mkdir -p "$3/bin" && cp "$0" "$3/bin/python" ;;\nesac\n'
    )
    python.chmod(0o755)
    (tmp_path / "tools").mkdir()
    for name in ("tools/setup.sh", "requirements.lock", "setup.py"):
        shutil.copy(ROOT / name, tmp_path / name)
    env = {key: value for key, value in os.environ.items() if key != "MMCV_FIND_LINKS"}
    done = subprocess.run(
        [str(tmp_path / "tools/setup.sh")],
        env=env | dict(PYTHON=str(python)),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 1, done.stdout
    for wanted in ("g++", "python3-dev", "2 GiB", "nvcc", "CUDA_HOME"):
        assert wanted in done.stderr
