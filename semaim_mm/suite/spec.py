"""What a suite compares: methods x tasks x seeds, read from a short config."""

import argparse
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from mmengine.config import DictAction

from semaim_mm.errors import InputError
from semaim_mm.leaderboard.compare import check_declared
from semaim_mm.runtime.launch import load_config, read_config
from semaim_mm.runtime.places import without_place
from semaim_mm.suite.grid import expand_grid
from semaim_mm.suite.spec_keys import METHOD, SUITE, TASK, check_keys
from semaim_mm.suite.sweep import HOLDOUT, check_sweep

KEYS = (
    *("name", "methods", "base", "grid", "tasks", "seeds", "comparisons"),
    *("sweep", "holdout", "notes", "out", "gpus", "slurm"),
)
NAME = re.compile(r"\w[\w.+=-]*")
METHOD_KEYS = ("config", "checkpoint", "tasks", "seeds", "options", "without")


class Task(NamedTuple):
    """A leaf that judges weights, and overrides of it."""

    config: str
    options: Mapping[str, Any] = MappingProxyType({})


class Method(NamedTuple):
    """Where a method's weights come from.

    Args:
        config: a pretraining leaf; a stage makes the weights.
        checkpoint: a file of any family, 'random', or None where the task takes no weights.
        tasks: {task: Task} whose leaf stands in place of the suite's own, with that one's options
            and, over them, its own; with ``config`` and ``checkpoint`` both unset these are the
            only tasks, e.g. raw pixels.
        options: overrides of the pretraining leaf.
        seeds: the seeds of this method alone; raw pixels have one.
        without: tasks of the suite that this method is not put through.
    """

    config: str | None = None
    checkpoint: str | None = None
    tasks: Mapping[str, Task] = MappingProxyType({})
    options: Mapping[str, Any] = MappingProxyType({})
    seeds: tuple[int, ...] | None = None
    without: tuple[str, ...] = ()

    @property
    def own_tasks_alone(self) -> bool:
        """Whether the method has no weights to judge, only leaves of its own."""
        return bool(self.tasks) and not self.config and not self.checkpoint


class Spec(NamedTuple):
    """A suite. ``comparisons`` are pairs of methods, declared before anything is run.

    A file's ``base`` and ``grid`` (grid.py) have become methods here.
    ``sweep``: {task: {config key: [values]}}, the grid that every method is tuned over, on a share
    ``holdout`` of the training set; ``notes``: {task: what a reader of the table has to know};
    ``gpus``: of every stage; ``slurm``: settings of the jobs, by submitit's names.
    """

    name: str
    methods: dict[str, Method]
    tasks: dict[str, Task]
    seeds: tuple[int, ...] = (0,)
    comparisons: tuple[tuple[str, str], ...] = ()
    out: Path = Path("work_dirs/suites")
    gpus: int = 0
    slurm: Mapping[str, Any] = MappingProxyType({})
    sweep: Mapping[str, Mapping[str, Sequence]] = MappingProxyType({})
    holdout: float = HOLDOUT
    notes: Mapping[str, str] = MappingProxyType({})

    @property
    def folder(self) -> Path:
        return self.out / self.name

    def asks(self, method: str, task: str) -> bool:
        """Whether the suite puts a method through a task."""
        found = self.methods[method]
        alone = found.own_tasks_alone and task not in found.tasks
        return not alone and task not in found.without


def read_spec(path: str) -> Spec:
    """A config file -> the suite it describes.

    Raises:
        InputError: no such file, an unknown or missing key, a value of another kind than its key's,
            a leaf that is not there, a comparison of a method that the suite lacks.
    """
    if not Path(path).is_file():
        raise InputError(f"There is no suite at {path}; those shipped are in configs/suites/.")
    if Path(path).suffix != ".py":
        raise InputError(
            f"{path} is no suite's config; a checkpoint needs --tasks, e.g. --tasks knn,linear."
        )
    found = read_config(path).to_dict()
    unknown = [key for key in found if key not in KEYS]
    if unknown:
        raise InputError(f"{path} has unknown keys {unknown}; a suite has {', '.join(KEYS)}.")
    check_keys(found, SUITE, path)
    cells = expand_grid(found.get("base"), found.get("grid"), path)
    twice = sorted(cells.keys() & found.get("methods", {}).keys())
    if twice:
        raise InputError(
            f"{path}: {', '.join(twice)} is a method and a cell of the grid; rename it."
        )
    found["methods"] = cells | found.get("methods", {})
    for key in ("methods", "tasks"):
        if not found.get(key):
            raise InputError(f"{path} names no {key}; a suite is methods x tasks x seeds.")
    methods = {name: _method(path, name, given) for name, given in found["methods"].items()}
    tasks = {name: _task(path, name, given) for name, given in found["tasks"].items()}
    spec = Spec(
        name=found.get("name", Path(path).stem),
        methods=methods,
        tasks=tasks,
        seeds=tuple(found.get("seeds", (0,))),
        comparisons=tuple(tuple(pair) for pair in found.get("comparisons", ())),
        out=Path(found.get("out", "work_dirs/suites")),
        gpus=found.get("gpus", 0),
        slurm=found.get("slurm", {}),
        sweep=found.get("sweep", {}),
        holdout=found.get("holdout", HOLDOUT),
        notes=found.get("notes", {}),
    )
    check_spec(spec, path)
    return spec


def check_spec(spec: Spec, path: str) -> None:
    """Raise InputError for what could not run: names, seeds, leaves and files, comparisons."""
    for name in (spec.name, *spec.methods, *spec.tasks):
        if not NAME.fullmatch(name) or ".stale" in name or name == "pretrain":
            raise InputError(
                f"{path}: {name!r} can't be a folder's name; a suite, methods and tasks are called "
                "by letters, digits and .+=-_ (and not pretrain)."
            )
    strangers = [task for task in spec.notes if task not in spec.tasks]
    if strangers:
        raise InputError(
            f"{path} has notes on {', '.join(strangers)}, which is no task of the suite; its tasks "
            f"are {', '.join(spec.tasks)}."
        )
    absent = [m.checkpoint for m in spec.methods.values() if not _there(m.checkpoint)]
    if absent:
        raise InputError(f"{path} names the checkpoint {absent[0]}, which is not there.")
    check_sweep(spec.sweep, list(spec.tasks), path)
    options = [task.options for task in spec.tasks.values()]
    options += [method.options for method in spec.methods.values()]
    options += [task.options for method in spec.methods.values() for task in method.tasks.values()]
    options += [dict.fromkeys(grid, v) for g in spec.sweep.values() for grid, v in _values(g)]
    for key, value in (item for found in options for item in found.items()):
        if _typed(value) != value:
            raise InputError(
                f"{path}: {key}={value!r} does not survive a command line; write a leaf that says "
                "it, and name that."
            )
    leaves = [task.config for task in spec.tasks.values()]
    for method in spec.methods.values():
        leaves += [*(task.config for task in method.tasks.values())]
        leaves += [method.config] if method.config else []
    absent = [leaf for leaf in leaves if not Path(leaf).is_file()]
    if absent:
        raise InputError(f"{path} names {', '.join(absent)}, which is not there.")
    _check_places(spec, path)
    check_declared(spec.comparisons)
    for pair in spec.comparisons:
        strangers = [name for name in pair if name not in spec.methods]
        if strangers:
            raise InputError(
                f"{path} compares {' with '.join(pair)}; name two of {', '.join(spec.methods)}."
            )
    for name, method in spec.methods.items():
        for said, named in (("has its own leaf for", method.tasks), ("is without", method.without)):
            strangers = [task for task in named if task not in spec.tasks]
            if strangers:
                raise InputError(
                    f"{path}: method {name} {said} {', '.join(strangers)}, which is no task of the "
                    f"suite; its tasks are {', '.join(spec.tasks)}."
                )


def _check_places(spec: Spec, path: str) -> None:
    """Raise InputError for an option that the leaf it is said of would not read."""
    found = [(f"task {name}", task) for name, task in spec.tasks.items()]
    for name, method in spec.methods.items():
        found += [(f"method {name}", method)] if method.config else []
        found += [(f"task {task} of method {name}", own) for task, own in method.tasks.items()]
    for where, leaf in found:
        absent = leaf.options and without_place(load_config(leaf.config).to_dict(), leaf.options)
        if absent:
            raise InputError(
                f"{path}: {where} has the option {', '.join(absent)}, and {leaf.config} has no "
                "part that would take it, so it would change nothing; mend the key."
            )


def _there(checkpoint: str | None) -> bool:
    return checkpoint in (None, "random") or Path(checkpoint).is_file()


def _values(grid: Any) -> list[tuple[list[str], Any]]:
    """A sweep's grid -> ([key], value) of every value in it."""
    lists = grid.items() if isinstance(grid, Mapping) else ()
    return [([k], v) for k, values in lists if isinstance(values, list | tuple) for v in values]


def _typed(value: Any) -> Any:
    """What mmengine's command line makes of a value."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--options", nargs="+", action=DictAction)
    return parser.parse_args(["--options", f"key={value}"]).options["key"]


def _task(path: str, name: str, given: Any) -> Task:
    if isinstance(given, str):
        return Task(given)
    if not isinstance(given, Mapping) or not {"config"} <= set(given) <= {"config", "options"}:
        raise InputError(
            f"{path}: task {name} must be a leaf, or dict(config=LEAF, options={{...}})."
        )
    check_keys(given, TASK, f"{path}: task {name}")
    return Task(**given)


def _method(path: str, name: str, given: Any) -> Method:
    if not isinstance(given, Mapping):
        raise InputError(
            f"{path}: method {name} must be a dict with a config or a checkpoint, not {given!r}."
        )
    unknown = [key for key in given if key not in METHOD_KEYS]
    if unknown:
        raise InputError(
            f"{path}: method {name} has unknown keys {unknown}; it may have "
            f"{', '.join(METHOD_KEYS)}."
        )
    check_keys(given, METHOD, f"{path}: method {name}")
    tasks = given.get("tasks", {})
    tasks = {task: _task(path, f"{task} of method {name}", own) for task, own in tasks.items()}
    method = Method(**{**given, "tasks": tasks})
    if method.config and method.checkpoint:
        raise InputError(
            f"{path}: method {name} has a config to pretrain by and a checkpoint; keep one."
        )
    if not method.config and not method.checkpoint and not method.tasks:
        raise InputError(
            f"{path}: method {name} has no config, no checkpoint and no tasks of its "
            "own; give it one of them."
        )
    if method.options and not method.config:
        raise InputError(
            f"{path}: method {name} has options, which are of a config to pretrain by, and no "
            "config; set those of a task in tasks."
        )
    seeds = None if method.seeds is None else tuple(method.seeds)
    return method._replace(seeds=seeds, without=tuple(method.without))
