"""A suite to plan, and a machine that stands in for the processes of its stages."""

from __future__ import annotations

from pathlib import Path

from result_files import write

from semaim_mm.suite.execute import Outcome, Progress, SuiteRun
from semaim_mm.suite.spec import Spec, read_spec
from semaim_mm.suite.stages import Stage, output_of, plan

SPEC = """
methods = dict(
    semantic=dict(config="configs/pretrain/semaim_tiny.py"),
    random=dict(checkpoint="random"),
    pixels=dict(tasks=dict(knn="configs/cls/knn_tiny_pixels.py"), seeds=[0]),
)
tasks = dict(knn="configs/cls/knn_tiny.py", ade20k="configs/seg/upernet_tiny.py")
seeds = [0, 1]
comparisons = [("semantic", "random")]
"""


def spec_in(folder: Path, text: str = SPEC) -> Spec:
    path = folder / "toy.py"
    path.write_text(f'{text}\nout = "{folder}/runs"\n')
    return read_spec(str(path))


class Machine:
    """Stands in for the processes: writes what each stage would leave, or fails.

    A job ends when it has been looked at ``lasts`` times; ``most`` ran at one time. ``score``, a
    function of the stage, makes tests write results with that accuracy.
    """

    outlive_the_runner, seconds_between_looks, launcher = False, 0, "torchrun"

    def __init__(self, places: int = 1, lasts: int = 1):
        self.places, self.lasts = places, lasts
        self.commands, self.score, self.cancelled = {}, None, []
        self.stops: set[str] = set()
        self.ran, self.fails, self.running, self.most, self.taken_up = [], set(), 0, 0, []

    def start(self, stage: Stage, command: list[str], log: Path, number: str | None) -> Job:
        self.ran.append(stage.name)
        self.commands[stage.name] = command
        self.taken_up.append(number)
        self.running += 1
        self.most = max(self.most, self.running)
        return Job(self, stage, command, log)

    def stopping(self, stage: Stage) -> int:
        """What a training that a signal stops does; -> its exit code."""
        return 75

    def cancel(self, number: str) -> None:
        self.cancelled.append(number)

    def outcomes(self, spec: Spec) -> list[Outcome]:
        self.ran, self.lines = [], []
        return SuiteRun(plan(spec), self, Progress(self.lines.append)).run()

    def go(self, spec: Spec) -> dict[str, str]:
        return {o.stage.name: o.status for o in self.outcomes(spec)}


class Job:
    def __init__(self, machine: Machine, stage: Stage, command: list[str], log: Path):
        self.machine, self.stage, self.command, self.log = machine, stage, command, log
        self.looks, self.number = 0, f"job {len(machine.ran)}"

    def code(self) -> int | None:
        self.looks += 1
        if self.looks < self.machine.lasts:
            return None
        self.machine.running -= 1
        fails = self.stage.name in self.machine.fails
        self.log.write_text("Traceback\nerror: it broke\n" if fails else "fine\n")
        if self.stage.name in self.machine.stops:
            return self.machine.stopping(self.stage)
        if fails:
            return 2
        output = output_of(self.stage)
        if self.stage.kind == "test" and self.machine.score:
            score = self.machine.score(self.stage)
            write(output.parent, self.stage.method, folder=".", score=score)
        else:
            output.write_text(f"{self.stage.name} from {self.command}")
        if self.stage.kind != "test":
            (self.stage.folder / "last_checkpoint").write_text(str(output))
        return 0

    def stop(self) -> None:
        self.machine.stopped = self.stage.name
