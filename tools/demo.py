#!/usr/bin/env python
"""The main job on shipped real images: pretrain tiny models, transfer them, see the leaderboard."""

import argparse
import os
import sys

from rich.console import Console

from semaim_mm.analysis.run import analyze
from semaim_mm.data.sample import build_sample_data, default_sample_path
from semaim_mm.errors import InputError
from semaim_mm.leaderboard.write.board import write_leaderboard
from semaim_mm.report.order_figure import write_order_figures
from semaim_mm.runtime.launch import user_errors
from semaim_mm.suite.execute import exit_code
from semaim_mm.suite.run import run_suite
from semaim_mm.suite.spec import read_spec
from semaim_mm.suite.stages import output_of, plan
from semaim_mm.suite.view import plan_table

SPEC, SHOWN = "configs/suites/demo.py", "semantic/seed0/pretrain"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workers", type=int, default=min(2, os.cpu_count() or 1))
    workers = parser.parse_args().workers
    # a log has no width of its own
    console = Console(width=None if sys.stdout.isatty() else 180)
    console.rule("sample data")
    sample = build_sample_data(
        default_sample_path(), log=lambda line: console.print(line, markup=False)
    )
    console.rule(f"the suite {SPEC}")
    spec = read_spec(SPEC)
    stages = plan(spec)
    console.print(plan_table(stages))
    outcomes = run_suite(spec, stages, "local", workers, console)
    console.rule("the leaderboard")
    shown = next(stage for stage in stages if stage.name == SHOWN)
    checkpoint = output_of(shown)
    if checkpoint.is_file():
        pictures = sorted((sample / "pretrain_val").glob("*.jpg"))[:4]
        try:
            write_order_figures(checkpoint, pictures, out=spec.folder / "orders")
            analyze(shown.config, [checkpoint], out=spec.folder / "analysis")
        except InputError as error:  # the table does not hang on its figures
            told = f"Figures are missing from the page: {error}"
            console.print(told, soft_wrap=True, markup=False)
    page = write_leaderboard(spec.folder, spec.folder / "leaderboard", console)
    console.print(f"Open {page} in a browser.", soft_wrap=True, markup=False)
    sys.exit(exit_code(outcomes))


if __name__ == "__main__":
    with user_errors():
        main()
