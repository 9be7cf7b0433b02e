"""A work dir that can't be written is told; odd paths, no home and no network work: row 23."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from pathlib import Path

import fault_runs as runs
import pytest
import shipped_leaves as shipped

from semaim_mm.data.prepare.kept import KeptValues
from semaim_mm.dense.scan_cache import cached_scan
from semaim_mm.errors import InputError
from semaim_mm.runtime.reliable.work_dir import check_work_dir

ROOT = Path(__file__).resolve().parents[2]
NOBODY = 65534


def lonely() -> None:
    """No home, no cache of one's own, and nobody answers on any address."""
    for name in ("HOME", "XDG_CACHE_HOME", "USER", "LOGNAME"):
        os.environ.pop(name, None)
    connect = socket.socket.connect

    def refused(self, address):
        if self.family != socket.AF_UNIX:
            raise OSError("the network is unreachable")
        connect(self, address)

    def unresolved(*args, **kwargs):
        raise socket.gaierror("no name is known")

    socket.socket.connect, socket.getaddrinfo = refused, unresolved


@pytest.mark.slow
def test_a_run_needs_no_home_no_network_and_takes_any_path(tmp_path):
    folder = tmp_path / "mit Leerzeichen, $ü & 模型 'x'"
    given = shipped.pretraining(folder, workers=1)
    at_4 = runs.at_iteration(4, runs.killed)
    ended = runs.train(shipped.PRETRAIN, given, folder / "läuft hier", at_4, before=lonely)
    assert ended.code == -9, ended.out[-3000:]
    ended = runs.train(shipped.PRETRAIN, given, folder / "läuft hier", before=lonely)
    assert ended.code == 0, ended.out[-3000:]
    assert (folder / "läuft hier" / "epoch_3.pth").is_file()
    assert not (Path.cwd() / "~").exists()


def test_without_a_home_nothing_is_kept_and_the_work_is_done(tmp_path, monkeypatch, capsys):
    """A user id without an entry, as containers have it: no folder named ~ appears."""
    for name in ("HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)

    def unknown(number):
        raise KeyError(number)

    monkeypatch.setattr(pwd, "getpwuid", unknown)
    monkeypatch.chdir(tmp_path)
    assert cached_scan(dict(scan="a"), lambda: dict(found=1)) == dict(found=1)
    with KeptValues("sha256") as kept:
        kept.put([(b"key", b"value")])
        assert kept.get(b"key") is None
    assert "can't be kept" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def readable():
    """A folder that everybody may enter, which pytest's are not."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


def test_a_work_dir_that_is_read_only_is_named(readable):
    work_dir = readable / "run"
    given = shipped.pretraining(readable)

    def without_rights() -> None:
        work_dir.chmod(0o555)
        if os.getuid() == 0:  # who may write everywhere
            os.setgroups([])
            os.setgid(NOBODY)
            os.setuid(NOBODY)

    ended = runs.train(shipped.PRETRAIN, given, work_dir, before=without_rights)
    assert ended.code == 2, ended.out[-3000:]
    assert f"error: The work dir {work_dir} can't be written to (Permission denied)" in ended.out
    assert "Traceback" not in ended.out


def test_a_work_dir_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"work dir .*/file/run can't be written to \(Not a dir"):
        check_work_dir(tmp_path / "file" / "run")


def test_asking_for_a_work_dir_leaves_nothing_in_it(tmp_path):
    check_work_dir(tmp_path / "a" / "b")
    assert list((tmp_path / "a" / "b").iterdir()) == []


def test_the_launcher_takes_paths_with_spaces(tmp_path):
    fake = tmp_path / "torchrun"
    fake.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    fake.chmod(0o755)
    environment = os.environ | dict(PATH=f"{tmp_path}:{os.environ['PATH']}", MAX_RESTARTS="2")
    command = [ROOT / "tools/dist_train.sh", "ein ü.py", "2", "--work-dir", "a b", "--resume=auto"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert "--max_restarts=2" in lines and "--rdzv_backend=c10d" in lines
    assert lines[-5:] == ["--launcher", "pytorch", "--work-dir", "a b", "--resume=auto"]
    assert "ein ü.py" in lines
