"""What a result says of its source: the commit, and whether anything is not committed."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
from pathlib import Path

import pytest

from semaim_mm.report import provenance


@pytest.fixture
def checkout(tmp_path) -> Path:
    """A repository that holds the module at its place."""
    place = tmp_path / "semaim_mm" / "report" / "provenance.py"
    place.parent.mkdir(parents=True)
    shutil.copy(provenance.__file__, place)
    git(tmp_path, "init", "-q")
    return place


def git(folder: Path, *what: str) -> str:
    who = ("-c", "user.name=a", "-c", "user.email=a@b")
    return subprocess.run(
        ["git", *who, *what], cwd=folder, check=True, capture_output=True, text=True
    ).stdout.strip()


def state(place: Path) -> dict:
    spec = importlib.util.spec_from_file_location("provenance_elsewhere", place)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.git_state()


def test_a_clean_checkout_is_clean_and_a_new_module_makes_it_dirty(checkout):
    root = checkout.parents[2]
    git(root, "add", ".")
    git(root, "commit", "-qm", "one")
    commit = git(root, "rev-parse", "HEAD")
    (root / "notes.txt").write_text("beside the code")
    assert state(checkout) == dict(commit=commit, dirty=False)
    (checkout.parent / "mine.py").write_text("x = 1\n")
    assert state(checkout) == dict(commit=commit, dirty=True)


def test_inside_a_repository_of_something_else_there_is_no_commit(checkout):
    root = checkout.parents[2]
    (root / "theirs.txt").write_text("theirs")
    git(root, "add", "theirs.txt")
    git(root, "commit", "-qm", "theirs")
    assert state(checkout) == dict(commit=None, dirty=None)
