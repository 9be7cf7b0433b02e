"""A suite from its plan to its end: who may run it, by what, shown how, and what it leaves."""

from collections.abc import Sequence
from contextlib import nullcontext
from functools import partial
from typing import Any

from rich.console import Console

from semaim_mm.errors import InputError
from semaim_mm.suite.execute import Outcome, Progress, SuiteRun
from semaim_mm.suite.local import LocalJobs
from semaim_mm.suite.locks import alone_in
from semaim_mm.suite.progress import LiveProgress
from semaim_mm.suite.slurm import SlurmJobs
from semaim_mm.suite.spec import Spec
from semaim_mm.suite.stages import Stage, plan
from semaim_mm.suite.summary import write_outcome, write_summary


def run_suite(
    spec: Spec,
    stages: Sequence[Stage],
    jobs: str = "local",
    workers: int = 1,
    console: Console | None = None,
    part: bool = False,
) -> list[Outcome]:
    """Run the stages of a suite that are missing -> how each ended; ``suite.json`` says it too.

    Args:
        jobs: 'local' processes, so many ``workers`` at a time, or 'slurm'.
        part: the stages are not all of the suite's; other processes may run other parts.

    Raises:
        InputError: another process runs the suite, no Slurm, less than one worker.
    """
    console = console or Console()
    with alone_in(spec.folder, part):
        machine = _jobs(spec, jobs, workers)
        write_summary(spec, plan(spec))
        shown: Any = nullcontext(Progress(lambda line: console.print(line, markup=False)))
        if console.is_terminal:
            shown = LiveProgress(console, len(stages))
        with shown as progress:
            run = SuiteRun(stages, machine, progress, partial(write_outcome, spec))
            try:
                return run.run()
            finally:
                write_summary(spec, plan(spec), list(run.outcomes.values()))


def _jobs(spec: Spec, jobs: str, workers: int) -> LocalJobs | SlurmJobs:
    if jobs == "slurm":
        return SlurmJobs(spec.folder, spec.slurm)
    if workers < 1:
        raise InputError(f"--workers {workers} runs nothing; give 1 or more.")
    return LocalJobs(workers)
