"""Which tests a suite's declared comparisons ask for, whether or not their results are there yet.

Counted and awaited from the plan alone, so that no verdict depends on when somebody looked.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from semaim_mm.leaderboard.collect import Trusted


class Test(NamedTuple):
    """A declared pair of methods in one of the suite's tasks."""

    __test__ = False  # pytest would collect it

    first: str
    second: str
    task: str


@dataclass(frozen=True)
class Plan:
    """What was declared. Without a suite both are empty, and only what is there counts.

    ``tests``: each with its seeds -> the folders of both methods' results. ``task_of``: folder of a
    result -> the suite's name of its task.
    """

    tests: Mapping[Test, Mapping[int, frozenset[Path]]] = field(default_factory=dict)
    task_of: Mapping[Path, str] = field(default_factory=dict)

    def tests_of(self, pair: Sequence[str], results: Iterable[Trusted]) -> set[Test]:
        """Results of a pair in one group -> which of the declared tests they belong to."""
        tasks = {self.task_of.get(result.path.parent, "") for result in results}
        return {test for test in self.tests if test[:2] == tuple(pair) and test.task in tasks}

    def progress(
        self, tests: Iterable[Test], results: Iterable[Trusted], paired: Iterable[int]
    ) -> tuple[int, int]:
        """-> how many of the seeds declared for tests both methods have, and how many there are."""
        seeds = {seed: both for test in tests for seed, both in self.tests[test].items()}
        folders, paired = {result.path.parent for result in results}, set(paired)
        there = [seed for seed, both in seeds.items() if seed in paired or both <= folders]
        return len(there), len(seeds)


def plan_of(
    results: str | Path,
    stages: Sequence[Mapping[str, Any]],
    comparisons: Sequence[Sequence[str]],
) -> Plan:
    """A suite's folder, stages and declared pairs -> a test for every task that both are asked for.

    Its seeds are those of which both have a stage.
    """
    folders: dict[tuple[str, str], dict[int, Path]] = {}
    task_of = {}
    for stage in stages:
        if stage["kind"] == "test" and stage.get("trial") is None:
            folder = Path(results) / stage["stage"]
            folders.setdefault((stage["method"], stage["task"]), {})[stage["seed"]] = folder
            task_of[folder] = stage["task"]
    tests = {}
    for first, second in comparisons:
        for task in dict.fromkeys(task for _, task in folders):
            ours, theirs = folders.get((first, task), {}), folders.get((second, task), {})
            both = {seed: frozenset({ours[seed], theirs[seed]}) for seed in ours if seed in theirs}
            if both:
                tests[Test(first, second, task)] = both
    return Plan(tests, task_of)
