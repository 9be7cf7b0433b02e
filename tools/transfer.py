#!/usr/bin/env python
"""Run a suite: every method through every task, over seeds; finished stages are passed over.

SPEC is a config of configs/suites/, or a checkpoint of any family together with --tasks.
"""

import argparse
import sys

from mmengine.config import DictAction
from rich.console import Console

from semaim_mm.errors import InputError
from semaim_mm.runtime.launch import user_errors
from semaim_mm.suite.checkpoint_spec import STANDARD, spec_of_checkpoint
from semaim_mm.suite.execute import exit_code
from semaim_mm.suite.run import run_suite
from semaim_mm.suite.spec import read_spec
from semaim_mm.suite.stages import plan, with_their_inputs
from semaim_mm.suite.view import commands, plan_table, results_table


def whole_numbers(text: str) -> list[int]:
    """'0,1,2' -> [0, 1, 2]; raises InputError for anything else."""
    try:
        return [int(part) for part in text.split(",")]
    except ValueError as error:
        raise InputError(f"--seeds {text} must be whole numbers, e.g. 0,1,2.") from error


def _as_typed(args: argparse.Namespace) -> list[str]:
    """-> the arguments that name the suite, as they were given."""
    named = {"--tasks": args.tasks, "--gpus": args.gpus, "--seeds": args.seeds}
    given = [
        str(part) for key, value in named.items() if value is not None for part in (key, value)
    ]
    return [args.spec, *given]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("spec")
    parser.add_argument("--tasks", help="for a checkpoint: some of " + ",".join(STANDARD))
    parser.add_argument("--only", help="the stages at or below a name, e.g. semantic/seed0")
    parser.add_argument("--dry-run", action="store_true", help="print the plan and stop")
    parser.add_argument("--jobs", choices=["local", "slurm", "print"], default="local")
    parser.add_argument("--workers", type=int, default=1, help="local stages at a time")
    parser.add_argument(
        "--gpus",
        type=int,
        help="for a checkpoint: of every stage; 0, the default: one process each, on the first GPU "
        "that it sees, else on the CPU",
    )
    parser.add_argument("--seeds", help="for a checkpoint: 0,1,2; default 0")
    parser.add_argument(
        "--slurm",
        nargs="+",
        action=DictAction,
        default={},
        metavar="KEY=VALUE",
        help="for a checkpoint: settings of its jobs, e.g. slurm_partition=gpu timeout_min=600",
    )
    args = parser.parse_args()
    # a log has no width of its own
    console = Console(width=None if sys.stdout.isatty() else 180)
    if args.tasks:
        spec = spec_of_checkpoint(
            args.spec,
            args.tasks.split(","),
            args.gpus or 0,
            whole_numbers(args.seeds or "0"),
            args.slurm,
        )
    elif args.gpus is not None or args.seeds or args.slurm:
        raise InputError(
            "--gpus, --seeds and --slurm are for a checkpoint with --tasks; a suite says them "
            f"itself: set gpus, seeds and slurm in {args.spec}."
        )
    else:
        spec = read_spec(args.spec)
    stages = with_their_inputs(plan(spec), args.only)
    if args.jobs == "slurm" and args.tasks and args.gpus is None:
        training = sorted({stage.task for stage in stages if stage.kind == "train"})
        if training:
            raise InputError(
                f"{', '.join(training)} would train without a GPU; give --gpus N, or --gpus 0 to "
                "train on the CPU."
            )
    if args.jobs == "print":
        print(*commands(stages, _as_typed(args)), sep="\n")
        return
    console.print(plan_table(stages))
    if args.dry_run:
        return
    outcomes = run_suite(spec, stages, args.jobs, args.workers, console, bool(args.only))
    console.print(results_table(spec, outcomes))
    written = f"python tools/leaderboard.py {spec.folder} --out {spec.folder / 'leaderboard'}"
    console.print(f"The leaderboard: {written}", soft_wrap=True, markup=False)
    sys.exit(exit_code(outcomes))


if __name__ == "__main__":
    with user_errors():
        main()
