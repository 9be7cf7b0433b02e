"""Kept scans: read again only for the same files, never in the way; ranks that agree."""

from __future__ import annotations

import json
import threading

import pytest
from mmengine.logging import MMLogger

from semaim_mm.dense import scan_cache
from semaim_mm.dense.scan_cache import cached_scan, file_state, on_first_rank, scans_folder
from semaim_mm.errors import InputError

SUBJECT = dict(scan="test", version=1, classes=("a", "b"))


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "semaim_mm" / "scans"


class Scan:
    """A scan that counts how often it ran."""

    def __init__(self):
        self.runs = 0

    def __call__(self) -> dict:
        self.runs += 1
        return dict(faults=dict(kind=dict(where=[self.runs], examples=["x"])))


def on_ranks(monkeypatch, count: int, work) -> list:
    """``work(rank)`` in a thread a rank, which share a broadcast -> what each got or raised."""
    local, shared, barrier = threading.local(), {}, threading.Barrier(count, timeout=10)

    def broadcast(data):
        if local.rank == 0:
            shared["data"] = list(data)
        barrier.wait()
        data[:] = shared["data"]

    monkeypatch.setattr(scan_cache, "is_main_process", lambda: local.rank == 0)
    monkeypatch.setattr(scan_cache, "broadcast_object_list", broadcast)
    outcomes = [None] * count

    def run(rank):
        local.rank = rank
        try:
            outcomes[rank] = work(rank)
        except Exception as error:
            outcomes[rank] = error

    threads = [threading.Thread(target=run, args=(rank,)) for rank in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    return outcomes


def test_a_second_scan_of_the_same_subject_is_read(cache):
    scan = Scan()
    first = cached_scan(SUBJECT, scan)
    assert cached_scan(SUBJECT, scan) == first
    assert scan.runs == 1
    assert [path.suffix for path in cache.iterdir()] == [".json"]


def test_another_subject_is_scanned(cache):
    scan = Scan()
    cached_scan(SUBJECT, scan)
    cached_scan(SUBJECT | dict(version=2), scan)
    assert scan.runs == 2


@pytest.mark.parametrize("text", ["", "{", "[]", '{"subject": "other", "found": {}}', '"x"'])
def test_a_kept_file_that_is_broken_or_of_another_subject_is_passed_over(cache, text):
    scan = Scan()
    cached_scan(SUBJECT, scan)
    next(cache.iterdir()).write_text(text)
    assert cached_scan(SUBJECT, scan)["faults"]["kind"]["where"] == [2]
    assert json.loads(next(cache.iterdir()).read_text())["found"]["faults"]


def test_a_cache_that_cannot_be_written_costs_a_line_in_the_log(tmp_path, monkeypatch, capsys):
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    MMLogger.get_instance("scan-cache-test", log_level="INFO")
    scan = Scan()
    cached_scan(SUBJECT, scan)
    assert cached_scan(SUBJECT, scan)["faults"]["kind"]["where"] == [2]
    assert "the scan could not be kept" in capsys.readouterr().out


def test_without_the_variable_the_cache_is_in_the_home_folder(tmp_path, monkeypatch):
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert scans_folder() == tmp_path / ".cache" / "semaim_mm" / "scans"


def test_a_file_that_changed_has_another_state(tmp_path):
    path = tmp_path / "a.json"
    path.write_text("1")
    before = file_state(path)
    path.write_text("22")
    assert file_state(path) != before


def test_only_the_first_rank_works_and_all_get_its_result(monkeypatch):
    workers = []
    outcomes = on_ranks(
        monkeypatch, 3, lambda rank: on_first_rank(lambda: workers.append(rank) or dict(found=rank))
    )
    assert workers == [0]
    assert outcomes == [dict(found=0)] * 3


def test_an_input_error_is_raised_on_every_rank(monkeypatch):
    def work():
        raise InputError("a.json is no readable JSON file.")

    outcomes = on_ranks(monkeypatch, 3, lambda rank: on_first_rank(work))
    assert [type(outcome) for outcome in outcomes] == [InputError] * 3
    assert {str(outcome) for outcome in outcomes} == {"a.json is no readable JSON file."}


def test_any_other_failure_of_the_first_rank_does_not_leave_the_others_waiting(monkeypatch):
    def work():
        raise MemoryError("too large")

    outcomes = on_ranks(monkeypatch, 2, lambda rank: on_first_rank(work))
    assert [type(outcome) for outcome in outcomes] == [MemoryError, RuntimeError]
    assert "MemoryError: too large" in str(outcomes[1])
