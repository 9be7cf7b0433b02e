"""What a task is called where results of several of a suite's tasks give it one name."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from semaim_mm.leaderboard.model import Group, Leaderboard


def with_suites_names(
    board: Leaderboard, tasks: Sequence[str], task_of: Mapping[str, str]
) -> Leaderboard:
    """A leaderboard -> the same, where one name would mean several tasks with the suite's for each.

    A result calls its task by the leaf's name, 'coco' under every recipe of detection. Groups,
    comparisons and trials of such a name are told apart by whose results are under a fingerprint.

    Args:
        tasks: the suite's, in its order.
        task_of: folder of a test's result, relative to the suite's -> the suite's task.
    """
    order = {task: place for place, task in enumerate(dict.fromkeys([*tasks, *task_of.values()]))}
    trial_of = {item.path: task_of.get(_folder(item.path)) for item in board.trials}
    claims: dict[str, set[str]] = {}
    for group in board.groups:
        claims.setdefault(group.task, set()).update(_tasks_of(group, task_of))
    # a task without results stands under its own name
    for task in order.keys() - {task for claimed in claims.values() for task in claimed}:
        claims.setdefault(task, set()).add(task)
    for item in board.trials:
        claims.setdefault(item.task, set()).update({trial_of[item.path]} - {None})

    def named(called: str, found: set[str]) -> str:
        return min(found, key=order.__getitem__) if found and len(claims[called]) > 1 else called

    groups, names = [], {}
    for group in board.groups:
        name = named(group.task, _tasks_of(group, task_of))
        names[group.task, group.fingerprint, group.rows[0].data] = name
        groups.append(replace(group, task=name))
    return replace(
        board,
        groups=tuple(groups),
        comparisons=tuple(
            replace(item, task=names.get((item.task, item.fingerprint, item.data), item.task))
            for item in board.comparisons
        ),
        trials=tuple(
            replace(item, task=named(item.task, {trial_of[item.path]} - {None}))
            for item in board.trials
        ),
    )


def _tasks_of(group: Group, task_of: Mapping[str, str]) -> set[str]:
    folders = {_folder(run.path) for row in group.rows for run in row.runs}
    return {task_of[folder] for folder in folders & task_of.keys()}


def _folder(path: str) -> str:
    return path.rpartition("/")[0]
