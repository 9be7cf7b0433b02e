"""Parts of a suite run by several processes, and what is told of one that is killed."""

from __future__ import annotations

import json

import pytest
from machine import Machine, spec_in
from rich.console import Console

from semaim_mm.errors import InputError
from semaim_mm.leaderboard.asked import asked_board, read_asked
from semaim_mm.suite import run
from semaim_mm.suite.locks import alone_in, lock_of
from semaim_mm.suite.stages import plan, with_their_inputs
from semaim_mm.suite.summary import write_summary
from semaim_mm.suite.view import commands


@pytest.fixture
def machine():
    return Machine()


def test_two_processes_do_not_run_one_suite_but_parts_of_it(tmp_path):
    def refused():
        return pytest.raises(InputError, match="Another process runs this suite")

    with alone_in(tmp_path), refused(), alone_in(tmp_path, part=True):
        pass
    parts = alone_in(tmp_path, part=True), alone_in(tmp_path, part=True)
    with parts[0], parts[1], refused(), alone_in(tmp_path):
        pass


def test_a_stage_that_another_process_runs_is_left_to_it(tmp_path, machine):
    spec = spec_in(tmp_path)
    held = lock_of(plan(spec)[0])
    statuses = machine.go(spec)
    waiting = [name for name, status in statuses.items() if status == "waits"]
    assert waiting == [s.name for s in plan(spec) if s.name.startswith("semantic/seed0")]
    held.close()
    machine.go(spec)
    assert machine.ran == waiting


def test_a_run_that_is_killed_has_told_of_every_stage_that_ended(tmp_path, machine, monkeypatch):
    machine.score = lambda stage: 50.0
    spec = spec_in(tmp_path)
    start = machine.start

    def killed(stage, *rest):
        if stage.name == "pixels/seed0/knn/test":
            raise KeyboardInterrupt
        return start(stage, *rest)

    machine.start = killed
    monkeypatch.setattr(run, "_jobs", lambda *rest: machine)
    # a killed process writes nothing at its end
    monkeypatch.setattr(run, "write_summary", Once(run.write_summary))
    with pytest.raises(KeyboardInterrupt):
        run.run_suite(spec, plan(spec), console=Console(quiet=True))
    found = json.loads((spec.folder / "suite.json").read_text())
    assert [s["stage"] for s in found["stages"] if s["status"] == "complete"] == machine.ran
    board = asked_board(spec.folder, read_asked(spec.folder), resamples=0)
    assert sum(len(row.runs) for group in board.groups for row in group.rows) == 2
    assert board.excluded == ()
    with pytest.raises(InputError, match="has 2 results, before which"):
        write_summary(spec._replace(comparisons=()), plan(spec))


class Once:
    """A function that does something at its first call alone."""

    def __init__(self, do):
        self.do = do

    def __call__(self, *given):
        do, self.do = self.do, lambda *given: None
        return do(*given)


@pytest.mark.slow
def test_the_printed_lines_of_a_suite_run_it_and_count(tmp_path, machine, monkeypatch):
    spec = spec_in(tmp_path)
    monkeypatch.setattr(run, "_jobs", lambda *rest: machine)
    for line in commands(plan(spec), ["toy.py"])[1::2]:
        stages = with_their_inputs(plan(spec), line.split()[-1])
        outcomes = run.run_suite(spec, stages, console=Console(quiet=True), part=True)
        assert [o.status for o in outcomes[:-1]] == ["finished before"] * (len(stages) - 1)
    assert len(machine.ran) == 15
    found = json.loads((spec.folder / "suite.json").read_text())
    assert {stage["status"] for stage in found["stages"]} == {"complete"}
