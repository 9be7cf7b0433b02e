#!/usr/bin/env python
"""Run a suite: every method through every task, over seeds; finished stages are passed over.

SPEC is a config of configs/suites/, or a checkpoint of any family together with --tasks.
"""

import argparse
import sys
from pathlib import Path

from rich.console import Console

from semaim_mm.runtime.launch import user_errors
from semaim_mm.suite.execute import run_stages
from semaim_mm.suite.spec import read_spec, spec_of_checkpoint
from semaim_mm.suite.stages import plan
from semaim_mm.suite.view import commands, plan_table, results_table, summary


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("spec")
    parser.add_argument("--tasks", help="for a checkpoint: knn,linear,finetune,coco,ade20k")
    parser.add_argument("--only", help="stages whose name begins so, e.g. semantic/seed0")
    parser.add_argument("--dry-run", action="store_true", help="print the plan and stop")
    parser.add_argument("--jobs", choices=["local", "print"], default="local")
    args = parser.parse_args()
    # a log has no width of its own
    console = Console(width=None if sys.stdout.isatty() else 180)
    if args.tasks:
        spec = spec_of_checkpoint(args.spec, args.tasks.split(","))
    else:
        spec = read_spec(args.spec)
    stages = with_their_inputs(plan(spec), args.only)
    if args.jobs == "print":
        print(*commands(stages), sep="\n")
        return
    console.print(plan_table(stages))
    if args.dry_run:
        return
    outcomes = run_stages(stages, spec.folder, lambda line: console.print(line, markup=False))
    Path(spec.folder / "summary.json").write_text(summary(spec, outcomes))
    console.print(results_table(spec, outcomes))
    if any(outcome.status in ("failed", "waits") for outcome in outcomes):
        sys.exit(1)


def with_their_inputs(stages: list, only: str | None) -> list:
    """The stages whose name begins with ``only``, and those that they need."""
    if only is None:
        return stages
    wanted = {stage.name for stage in stages if stage.name.startswith(only)}
    for stage in reversed(stages):
        if stage.name in wanted and stage.needs:
            wanted.add(stage.needs)
    return [stage for stage in stages if stage.name in wanted]


if __name__ == "__main__":
    with user_errors():
        main()
