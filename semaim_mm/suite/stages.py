"""What has to run for a suite: a stage a process, in an order in which each finds its input."""

import shlex
import sys
from collections.abc import Mapping, Sequence
from graphlib import TopologicalSorter
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from semaim_mm.errors import InputError
from semaim_mm.leaderboard.collect import WITHOUT_DRAWS
from semaim_mm.report.result import canonical
from semaim_mm.runtime.launch import configs_read_once, load_config
from semaim_mm.runtime.places import without_place
from semaim_mm.runtime.tuned import SWEPT
from semaim_mm.suite.spec import Method, Spec, Task
from semaim_mm.suite.sweep import choose, grid_points

TOOLS = Path(__file__).resolve().parents[2] / "tools"


class Stage(NamedTuple):
    """One process: a pretraining, a training on a task, or a test.

    ``needs`` is the stage whose checkpoint it starts from; ``checkpoint`` a file that is given, or
    'random'. Both None: it takes no weights. ``trials``: the tests that its settings are chosen by,
    one a point of ``grid``; ``trial`` is the number of one.
    """

    name: str
    kind: str
    method: str
    task: str
    seed: int
    config: str
    options: dict[str, Any]
    folder: Path
    needs: str | None = None
    checkpoint: str | None = None
    gpus: int = 0
    trials: tuple[str, ...] = ()
    grid: Mapping[str, Sequence] = MappingProxyType({})
    trial: int | None = None

    @property
    def after(self) -> tuple[str, ...]:
        """The stages that have to be complete before this one starts."""
        return (*((self.needs,) if self.needs else ()), *self.trials)

    @property
    def but_for_its_seed(self) -> tuple[str, str, str]:
        """What the same stage of another seed has too."""
        options = {k: v for k, v in self.options.items() if k != "randomness.seed"}
        return self.config, self.kind, canonical(options)

    @property
    def processes(self) -> int:
        """How many share the stage: one a GPU, but one where no weights say what to share."""
        takes_none = self.kind == "test" and not (self.needs or self.checkpoint)
        return 1 if takes_none else max(1, self.gpus)


@configs_read_once()
def plan(spec: Spec) -> list[Stage]:
    """A suite -> its stages, every one after what it needs; seed by seed, cheap tasks first."""
    stages = []
    for name, method in spec.methods.items():
        seeds = method.seeds or spec.seeds
        for seed in seeds:
            start = None
            if method.config:
                start = _stage(spec, "pretrain", name, "pretrain", seed, method)
                stages.append(start)
            for task, leaf in spec.tasks.items():
                if not spec.asks(name, task):
                    continue
                if own := method.tasks.get(task):
                    leaf = own._replace(options={**leaf.options, **own.options})
                if seed != seeds[0] and _scores_once(method, leaf):
                    continue
                stages += _task_stages(spec, name, method, task, leaf, seed, start)
    # the sort is stable, so a task's test stays behind its training
    rank = {"pretrain": -1} | {task: number for number, task in enumerate(spec.tasks)}
    return sorted(stages, key=lambda stage: (stage.seed, rank[stage.task]))


def _scores_once(method: Method, leaf: Task) -> bool:
    """Whether every seed has the same score: the same weights, in a protocol that draws nothing."""
    if method.config or method.checkpoint == "random":
        return False
    try:
        cfg = load_config(leaf.config, leaf.options)
    except InputError:
        return False  # its run will tell why
    judge = cfg.get("test_evaluator")
    drawn = cfg.get("train_cfg") is not None or not isinstance(judge, Mapping)
    return not drawn and judge["type"] in WITHOUT_DRAWS


def _stage(
    spec: Spec, kind: str, name: str, task: str, seed: int, leaf: Method | Task, *sub: str
) -> Stage:
    path = [name, f"seed{seed}", task, *sub] + ([kind] if kind != "pretrain" else [])
    return Stage(
        name="/".join(path),
        kind=kind,
        method=name,
        task=task,
        seed=seed,
        config=leaf.config,
        options={"randomness.seed": seed, **leaf.options},
        folder=spec.folder.joinpath(*path),
        gpus=spec.gpus,
    )


def _task_stages(
    spec: Spec, name: str, method: Method, task: str, leaf: Task, seed: int, start: Stage | None
) -> list[Stage]:
    given = dict(needs=start.name) if start else dict(checkpoint=method.checkpoint)
    test = _stage(spec, "test", name, task, seed, leaf)
    grid = spec.sweep.get(task, {})
    if load_config(leaf.config).get("train_cfg") is None:
        if grid:
            raise InputError(
                f"The suite sweeps {task}, but {leaf.config} trains nothing; leave it out of sweep."
            )
        return [test._replace(**given)]
    if grid:
        _check_grid(task, leaf, grid)
    train = _stage(spec, "train", name, task, seed, leaf)._replace(**given)
    trials = []
    first = (method.seeds or spec.seeds)[0]
    points = grid_points(grid) if grid else []
    if seed == first:
        for number, settings in enumerate(points):
            tried = leaf._replace(options={**leaf.options, **settings, "holdout": spec.holdout})
            for kind in ("train", "test"):
                trials.append(_stage(spec, kind, name, task, seed, tried, f"trial{number}"))
                trials[-1] = trials[-1]._replace(trial=number)
            trials[-2] = trials[-2]._replace(**given)
            trials[-1] = trials[-1]._replace(needs=trials[-2].name)
    tests = tuple(f"{name}/seed{first}/{task}/trial{n}/test" for n in range(len(points)))
    train = train._replace(trials=tests, grid=grid)
    return [*trials, train, test._replace(needs=train.name, trials=tests, grid=grid)]


def _check_grid(task: str, leaf: Task, grid: Mapping[str, Sequence]) -> None:
    cfg = load_config(leaf.config, dict(leaf.options)).to_dict()
    absent = without_place(cfg, grid)
    if absent:
        raise InputError(
            f"The sweep of {task} sets {', '.join(absent)}, which {leaf.config} does not have, so "
            "every trial would be the same; mend the keys."
        )
    strange = [key for key in grid if not key.startswith(SWEPT)]
    if strange:
        raise InputError(
            f"The sweep of {task} sets {', '.join(strange)}; what a sweep may choose begins with "
            f"{', '.join(SWEPT)}. Write a leaf for anything else: it is another protocol."
        )
    if "optim_wrapper.optimizer.lr" in grid and cfg.get("base_lr") is not None:
        raise InputError(
            f"The sweep of {task} sets optim_wrapper.optimizer.lr, which base_lr of {leaf.config} "
            "overwrites; sweep base_lr."
        )


def settle(stage: Stage, stages: Sequence[Stage]) -> Stage:
    """A stage whose settings a sweep chooses -> the same with them, once all trials are complete.

    Raises:
        InputError: a trial's result can't be read.
    """
    if not stage.trials:
        return stage
    tests = {other.name: other for other in stages if other.name in stage.trials}
    results = [output_of(tests[name]) for name in stage.trials]
    share = next(iter(tests.values())).options["holdout"]
    chosen, path = choose(stage.folder.parent, stage.grid, share, results)
    told = {"tuned": str(path)} if stage.kind == "train" else {}
    return stage._replace(options={**stage.options, **chosen, **told})


def with_their_inputs(stages: list[Stage], only: str | None) -> list[Stage]:
    """The stages that are ``only`` or below it, and those that they need; all without it.

    Raises:
        InputError: no stage's name begins so.
    """
    if only is None:
        return stages
    wanted = {stage.name for stage in stages if f"{stage.name}/".startswith(f"{only.rstrip('/')}/")}
    if not wanted:
        raise InputError(
            f"--only {only} names no stage; the first of {len(stages)} is {stages[0].name}, and "
            "--dry-run lists them all."
        )
    for stage in reversed(sorted_by_need(stages)):
        if stage.name in wanted:
            wanted.update(stage.after)
    return [stage for stage in stages if stage.name in wanted]


def sorted_by_need(stages: Sequence[Stage]) -> list[Stage]:
    """Stages -> the same, every one after what it needs."""
    graph = TopologicalSorter({stage.name: stage.after for stage in stages})
    by_name = {stage.name: stage for stage in stages}
    return [by_name[name] for name in graph.static_order()]


def command_of(stage: Stage, checkpoint: str | None, launcher: str = "torchrun") -> list[str]:
    """A stage and the weights it starts from -> the command that runs it.

    ``launcher``: what starts a process for each of several GPUs, 'torchrun' or 'slurm' (the job's
    own tasks).
    """
    options = dict(stage.options)
    arguments = [stage.config]
    if stage.kind == "test":
        arguments += [checkpoint] if checkpoint else []
    elif stage.kind == "train":
        # 'random' too: what is else said there, e.g. which weights start fresh, is of the protocol
        options["model.backbone.init_cfg.checkpoint"] = checkpoint
    tool = "test" if stage.kind == "test" else "train"
    several = stage.processes > 1
    if several and launcher == "torchrun":
        head = [str(TOOLS / f"dist_{tool}.sh"), *arguments, str(stage.processes)]
    else:
        head = [sys.executable, str(TOOLS / f"{tool}.py"), *arguments]
    how = ["--method", stage.method] if stage.kind == "test" else ["--resume", "auto"]
    how += ["--launcher", "slurm"] if several and launcher == "slurm" else []
    flat = [f"{key}={value}" for key, value in options.items()]
    return [*head, "--work-dir", str(stage.folder), *how, "--cfg-options", *flat]


def shell_line(command: list[str]) -> str:
    """A command -> a line that a shell takes, in the repository's folder and environment."""
    root = f"{TOOLS.parent}/"
    return shlex.join(
        "python" if part == sys.executable else part.removeprefix(root) for part in command
    )


def output_of(stage: Stage) -> Path:
    """The file that a stage leaves: its last checkpoint, or its result."""
    if stage.kind == "test":
        return stage.folder / "result.json"
    pointer = stage.folder / "last_checkpoint"
    if pointer.is_file():
        # the name alone: what lies outside the stage's folder is not its output
        named = stage.folder / Path(pointer.read_text(errors="replace").strip()).name
        if named.is_file():
            return named
    cfg = load_config(stage.config, stage.options)
    if "max_iters" not in cfg.train_cfg:
        return stage.folder / f"epoch_{cfg.train_cfg['max_epochs']}.pth"
    steps = 1  # of an update: the loop counts these (runtime/runner.py)
    if total := cfg.get("total_batch"):
        steps = max(1, total // (stage.processes * cfg.train_dataloader["batch_size"]))
    return stage.folder / f"iter_{cfg.train_cfg['max_iters'] * steps}.pth"
