"""Rounds go A B A B, ratios are taken within a round, so a drifting machine cancels."""

from __future__ import annotations

import gc
import weakref

import pytest

from semaim_mm.bench import timing
from semaim_mm.bench.timing import Spread, interleave, paired_ratio, release
from semaim_mm.errors import InputError


class Clock:
    """A clock that steps move by hand."""

    def __init__(self):
        self.now = 0.0

    def perf_counter(self) -> float:
        return self.now


def test_arms_take_turns_and_warm_up_rounds_are_not_counted():
    calls = []
    times = interleave({"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}, 3, 2)
    assert "".join(calls) == "ababababab"
    assert {name: len(values) for name, values in times.items()} == {"a": 3, "b": 3}


def test_a_machine_that_slows_down_leaves_the_paired_ratio_as_it_is(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(timing, "time", clock)
    runs = []

    def step(cost: float) -> None:
        runs.append(cost)
        clock.now += cost * 2.0 ** ((len(runs) - 1) // 2)  # every round twice as slow

    times = interleave({"slow": lambda: step(3.0), "fast": lambda: step(1.0)}, 4, warmup=0)
    assert times == {"slow": [3.0, 6.0, 12.0, 24.0], "fast": [1.0, 2.0, 4.0, 8.0]}
    assert paired_ratio(times["slow"], times["fast"]) == Spread(3.0, 3.0, 3.0)


def test_the_ratio_is_the_median_of_the_rounds_ratios_not_of_the_medians():
    assert paired_ratio([2.0, 9.0, 4.0], [1.0, 3.0, 4.0]) == Spread(2.0, 1.0, 3.0)


def test_a_spread_in_other_units_and_as_a_rate():
    spread = Spread.of([4.0, 1.0, 2.0])
    assert spread == (2.0, 1.0, 4.0)
    assert spread.scaled(1000) == (2000.0, 1000.0, 4000.0)
    assert spread.per(8) == (4.0, 2.0, 8.0)


def test_no_round_at_all_is_refused():
    with pytest.raises(InputError, match="0 rounds measures nothing; ask for 1 or more"):
        interleave({"a": lambda: None}, 0)


def test_another_clock_tells_the_seconds():
    ticks = iter(range(0, 1000, 7))
    times = interleave(dict(a=lambda: None), rounds=3, clock=lambda: next(ticks))
    assert times == dict(a=[7, 7, 7])


def test_a_step_that_holds_its_own_methods_is_gone_after_a_release():
    class Held:
        def __init__(self):
            self.parts = [self.run]

        def run(self) -> None: ...

    gc.disable()
    try:
        gone = weakref.ref(Held())
        assert gone() is not None
        release()
    finally:
        gc.enable()
    assert gone() is None
