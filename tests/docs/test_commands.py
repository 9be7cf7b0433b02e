"""Every shell command of README and docs says what its tool takes, up to the data that it lacks.

Where a command needs ImageNet, weights or devices, its tool runs with the very same arguments until
it says what is missing; the model alone is replaced by a stub. test_tutorial.py runs those of the
tutorial to their end.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from conftest import write_images
from doc_blocks import ROOT, pages
from doc_fences import OTHER, SHELL, Command, all_commands, all_fences
from doc_tools import check_options, flags_of, launched, run, runs_but_for_data
from mmengine.config import Config
from mmengine.model import BaseModel

from semaim_mm.runtime.launch import default_work_dir
from semaim_mm.runtime.runner import TransferRunner

COMMANDS = all_commands()


class Stub(BaseModel):
    """In place of a full-size model, which takes seconds to build and no argument of a command."""

    def __init__(self, *args, **kwargs):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.poolings, self.attentive_share = (), 1.0

    def forward(self, *args, **kwargs):
        raise AssertionError("no data should have been found")


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    """A folder like the repository's root, without data."""
    shutil.copytree(ROOT / "configs", tmp_path / "configs")
    for name in ("tools", "tests"):
        (tmp_path / name).symlink_to(ROOT / name)
    for fence in all_fences("python"):
        if fence.title:
            (tmp_path / fence.title).write_text(fence.text)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delenv("SEMAIM_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(TransferRunner, "build_model", lambda self, model: Stub())
    return tmp_path


def train_or_test(command: Command, tool: str, words: list[str]) -> None:
    check_options(command.place, words)
    check_checkpoints(command, words)
    runs_but_for_data(tool, words)


def by_launcher(stub: str) -> Callable:
    def check(command: Command, tool: str, words: list[str]) -> None:
        tool, *rest = launched(command, stub, Path("stubs"))
        train_or_test(command, tool, rest)

    return check


def suite(command: Command, tool: str, words: list[str]) -> None:
    planned = "--dry-run" in words or "print" in words or not words[0].startswith("configs/")
    runs_but_for_data(tool, words if planned else [*words, "--dry-run"])


def as_it_stands(command: Command, tool: str, words: list[str]) -> None:
    runs_but_for_data(tool, words)


def with_overlaps(command: Command, tool: str, words: list[str]) -> None:
    if "--overlaps" in words:
        Path(words[words.index("--overlaps") + 1]).mkdir(parents=True)
    runs_but_for_data(tool, words)


def with_images(command: Command, tool: str, words: list[str]) -> None:
    for word in words:
        if word.startswith("IMAGE") or word.endswith((".jpg", ".png")):
            write_images(Path(word).parent, 1)[0].rename(word)
    runs_but_for_data(tool, words)


def without(name: str, result: object) -> Callable:
    """A check that a tool's arguments are right, with its one costly part left out."""

    def check(command: Command, tool: str, words: list[str]) -> None:
        assert run(tool, words, lambda module: setattr(module, name, lambda *a, **k: result)) == 0

    return check


def no_benchmark(command: Command, tool: str, words: list[str]) -> None:
    def patch(module) -> None:
        for name in [name for name in vars(module) if name.startswith("run_")]:
            setattr(module, name, lambda args: [])

    assert run(tool, words, patch) == 0


def no_cache(command: Command, tool: str, words: list[str]) -> None:
    def patch(module) -> None:
        module.write_cache = lambda cfg, dtype: (dict(count=0, shards=[]), "")
        module.measure = lambda cfg, rounds: ""

    assert run(tool, words, patch) == 0


def no_simulation(command: Command, tool: str, words: list[str]) -> None:
    assert run(tool, [*words, "--only", "no such scenario", "--out", "coverage.json"]) == 0


def make(command: Command, tool: str, words: list[str]) -> None:
    done = subprocess.run(
        ["make", "-n", *words], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr


def build_site(command: Command, tool: str, words: list[str]) -> None:
    # test_pages.py builds it
    assert words[0] == "build" and (ROOT / "mkdocs.yml").is_file()


def no_training(command: Command, tool: str, words: list[str]) -> None:
    def patch(module) -> None:
        module.compare = lambda out, seeds: out.mkdir(parents=True) or {}
        module.table = module.verdicts = lambda found: ""

    assert run(tool, words, patch) == 0


def measured(command: Command, tool: str, words: list[str]) -> None:
    # it trains for minutes; test_measured_analysis.py looks at what it writes
    assert (ROOT / tool).is_file() and words in ([], ["--generation"]), command.place


def pytest_of_files(command: Command, tool: str, words: list[str]) -> None:
    named = [word for word in words if not word.startswith("-")]
    assert named and all((ROOT / word).exists() for word in named), command.place


def extras(command: Command, tool: str, words: list[str]) -> None:
    """The package lies in no registry: it is installed from where it was cloned, with extras."""
    assert words[0] == "install", command.place
    known = re.findall(r'^    "(\w+)": \[', (ROOT / "setup.py").read_text(), re.MULTILINE)
    for word in words[1:]:
        found = re.fullmatch(r"\.\[(\w+)\]", word)
        assert found and found[1] in known, f"{command.place}: {word} is not one of .{known}"


CHECKS = {
    "tools/train.py": train_or_test,
    "tools/test.py": train_or_test,
    "tools/visualize_predictions.py": with_images,
    "tools/analyze.py": as_it_stands,
    "tools/visualize_order.py": with_images,
    "tools/convert_checkpoint.py": as_it_stands,
    "tools/prepare_data.py": as_it_stands,
    "tools/leaderboard.py": with_overlaps,
    "tools/anchors.py": as_it_stands,
    "tools/doctor.py": as_it_stands,
    "tools/make_sample_data.py": as_it_stands,
    "tools/check_reference.py": as_it_stands,
    "tools/fetch_sample_packages.py": without("fetch_packages", []),
    "tools/transfer.py": suite,
    "tools/keep_results.py": without("restore", ([], [])),
    "tools/benchmark.py": no_benchmark,
    "tools/cache_teacher.py": no_cache,
    "tools/coverage_simulation.py": no_simulation,
    "tools/soak.py": without("Soak", SimpleNamespace(run=lambda: dict(trainings=1, equal=1))),
    "tools/dist_train.sh": by_launcher("torchrun"),
    "tools/dist_test.sh": by_launcher("torchrun"),
    "tools/slurm_train.sh": by_launcher("srun"),
    "tools/learning_check.py": no_training,
    "tests/docs/measured_analysis.py": measured,
    "tests/docs/suite_figure.py": without("write", "suite.png"),
    "pytest": pytest_of_files,
    "pip": extras,
    "make": make,
    "mkdocs": build_site,
}


def test_there_are_commands_and_something_covers_each():
    assert len(COMMANDS) > 50
    uncovered = [f"{c.place}: {c.program}" for c in COMMANDS if c.program not in CHECKS]
    assert uncovered == []


def test_every_block_is_of_a_kind_that_is_looked_at():
    known = {"", *SHELL, *OTHER}
    assert [f"{f.place}: {f.language}" for f in all_fences() if f.language not in known] == []


def cases() -> list:
    """Every command; those that plan a whole suite read a hundred configs and are slow."""
    found = []
    for c in COMMANDS:
        planned = c.program == "tools/transfer.py" and c.words[0].startswith("configs/")
        marks = [pytest.mark.slow] if planned else []
        found.append(pytest.param(c, id=f"{c.place} {Path(c.program).stem}", marks=marks))
    return found


@pytest.mark.parametrize("command", cases())
def test_a_command_is_as_its_tool_takes_it(command, monkeypatch):
    for key, value in command.env.items():
        monkeypatch.setenv(key, value)
    if command.is_synopsis:
        named = set(re.findall(r"--[\w-]+", " ".join(command.words)))
        # a sub-command has a help of its own
        first = [w for w in command.words[:1] if re.fullmatch(r"[a-z]\w+", w)]
        flags = flags_of(command.program) | (flags_of(command.program, *first) if first else set())
        assert named <= flags, command.place
        return
    CHECKS[command.program](command, command.program, command.words)


def check_checkpoints(command: Command, words: list[str]) -> None:
    """work_dirs/cls/finetune_tiny/epoch_10.pth: that leaf ends after 10 epochs."""
    for word in words:
        found = re.search(r"work_dirs/([\w-]+)/([\w-]+)/(epoch|iter)_(\d+)\.pth$", word)
        if found is None:
            continue
        folder, stem, kind, number = found.groups()
        loop = Config.fromfile(f"configs/{folder}/{stem}.py").train_cfg
        length = loop.get("max_iters" if kind == "iter" else "max_epochs")
        assert length == int(number), f"{command.place}: {word}, but the leaf trains {length}"


def test_every_checkpoint_that_a_page_names_is_where_its_leaf_writes_it():
    leaves = [path.relative_to(ROOT).as_posix() for path in (ROOT / "configs").rglob("*.py")]
    folders = {default_work_dir(leaf).as_posix() for leaf in leaves}
    for name in ("demo", "small"):
        spec = Config.fromfile(ROOT / f"configs/suites/{name}.py")
        folders |= {
            f"work_dirs/suites/{name}/{method}/seed{seed}/pretrain"
            for method, given in spec.methods.items()
            for seed in spec.seeds
            if "config" in given
        }
    named = set()
    for page in pages():
        for path in re.findall(r"work_dirs/[\w./-]+\.pth", page.read_text()):
            named.add((page.name, path))
    made = r"work_dirs/semaim_tiny_timm\.pth"  # by the tutorial's own command
    lost = [n for n in named if str(Path(n[1]).parent) not in folders and not re.match(made, n[1])]
    assert len(named) > 5 and lost == []


def test_every_message_installs_extras_from_the_clone():
    known = re.findall(r'^    "(\w+)": \[', (ROOT / "setup.py").read_text(), re.MULTILINE)
    for path in [*(ROOT / "semaim_mm").rglob("*.py"), *(ROOT / "tests").rglob("*.py")]:
        for project, extra in re.findall(r"pip install '([\w.]*)\[(\w+)\]'", path.read_text()):
            assert project == "." and extra in known, path
