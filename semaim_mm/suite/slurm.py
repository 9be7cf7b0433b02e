"""Stages as Slurm jobs by submitit: they go on when the runner ends, and are found again.

A job that Slurm stops for its time limit is put back into the queue and resumes its training.
"""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from semaim_mm.errors import InputError
from semaim_mm.runtime.command_line import srun
from semaim_mm.runtime.reliable.stop import EXIT_CODE as STOPPED
from semaim_mm.suite.stages import Stage

GPUS_PER_NODE = 8
WHERE = "submitit"  # submitit's own files, in the suite's folder
SECONDS_BETWEEN_POLLS = 0.5
DEFAULTS = {"timeout_min": 24 * 60, "slurm_signal_delay_s": 180}  # time for an update and a save
TIMES = "slurm_max_num_timeout"  # how often a job that reached its time limit is queued again
MOST_TIMES = 20
# what every job is told by the suite itself, and what to do instead of setting it
OF_THE_SUITE = {
    "name": "a job is called as its stage is",
    "nodes": f"set the suite's gpus, which go {GPUS_PER_NODE} to a node",
    "tasks_per_node": "set the suite's gpus, each of which gets a task",
    "gpus_per_node": "set the suite's gpus",
}
ENDED = ("COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL", "BOOT_FAIL", "DEADLINE")
ENDED += ("OUT_OF_MEMORY", "PREEMPTED", "REVOKED")  # one that is queued again is PENDING


def starter_of(stage: Stage) -> list[str]:
    """A stage -> what stands before its command in a shell: srun where it has several processes."""
    return srun(stage.processes, _machines(stage)[1]) if stage.processes > 1 else []


def _machines(stage: Stage) -> tuple[int, int]:
    """-> how many machines a stage is given, and its processes on each."""
    tasks = stage.processes
    nodes = -(-tasks // GPUS_PER_NODE)
    if tasks % nodes:
        raise InputError(
            f"gpus={tasks} are no whole number on each of {nodes} machines of {GPUS_PER_NODE}; "
            "choose a multiple."
        )
    return nodes, tasks // nodes


class StageCall:
    """What a job runs: a stage's command, its output appended to the stage's log.

    A signal that only the job's own process gets is passed on to the command, which saves itself.
    """

    def __init__(self, command: Sequence[str], log: Path):
        self.command, self.log = list(command), Path(log)
        self._child: subprocess.Popen | None = None

    def __call__(self) -> int:
        """-> the command's exit code; every task but the first has a log of its own.

        Raises:
            SystemExit: the command saved itself on a signal, so that there is no result yet.
        """
        rank = int(os.environ.get("SLURM_PROCID", "0"))
        log = self.log if rank == 0 else self.log.with_suffix(f".rank{rank}.txt")
        with log.open("ab") as file:
            self._child = subprocess.Popen(self.command, stdout=file, stderr=subprocess.STDOUT)
        # not Popen.wait: it would hold its lock while a signal's handler asks about the child
        with _on_sigterm(self._pass_on):
            while (code := self._child.poll()) is None:
                time.sleep(SECONDS_BETWEEN_POLLS)
        if code == STOPPED:
            # srun may end all tasks for one bad code, also the first, which sees to the queue
            raise SystemExit(STOPPED if rank == 0 else 0)
        return code

    def checkpoint(self) -> Any:
        """What submitit puts back into the queue: the same, which resumes by itself.

        submitit calls this on its signal, and leaves after it: so the command saves itself first.
        """
        from submitit.helpers import DelayedSubmission

        if self._child is not None:
            self._pass_on(signal.SIGUSR2)
            with suppress(ChildProcessError):  # it has been seen to end
                os.waitid(os.P_PID, self._child.pid, os.WEXITED | os.WNOWAIT)
        return DelayedSubmission(StageCall(self.command, self.log))

    def _pass_on(self, number: int, frame: object = None) -> None:
        if self._child is not None:
            self._child.send_signal(number)


@contextmanager
def _on_sigterm(handler: Callable[[int, Any], None]) -> Iterator[None]:
    """SIGTERM of a preemption, which submitit passes by."""
    former = signal.signal(signal.SIGTERM, handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, former)


class SlurmJob:
    """A submitted job. ``number`` is Slurm's, kept in the stage's record."""

    def __init__(self, job: Any):
        self.job, self.number = job, str(job.job_id)

    def code(self) -> int | None:
        """-> the first exit code of its tasks that is not 0, 1 where Slurm ended it, else 0.

        None while it runs.
        """
        from submitit.core.utils import FailedJobError, UncompletedJobError

        if not self.job.done():
            return None
        try:
            return next((code for code in self.job.results() if code != 0), 0)
        except (FailedJobError, UncompletedJobError):
            return 1

    def stop(self) -> None:
        self.job.cancel()


class SlurmJobs:
    """Submits every stage whose input is there.

    Args:
        folder: the suite's folder, which all machines share.
        settings: of the jobs, by submitit's names: timeout_min, cpus_per_task, slurm_partition,
            slurm_account, slurm_qos, slurm_max_num_timeout, slurm_additional_parameters, ...
        cluster: 'slurm'; submitit's 'local' runs the same without Slurm.

    Raises:
        InputError: no submitit, no Slurm, a setting that is unknown or not for the user to say.
    """

    outlive_the_runner = True
    launcher = "slurm"
    places = 1000
    seconds_between_looks = 10.0

    def __init__(self, folder: Path, settings: Mapping[str, Any], cluster: str = "slurm"):
        try:
            import submitit
        except ImportError as error:
            raise InputError(
                "--jobs slurm needs the package submitit; pip install '.[slurm]', or use "
                "--jobs print and submit the commands yourself."
            ) from error
        self.folder, self.cluster = folder / WHERE, cluster
        self.settings = {**DEFAULTS, **settings}
        if own := [f"{key} ({told})" for key, told in OF_THE_SUITE.items() if key in settings]:
            raise InputError(
                "The suite's slurm settings are wrong: the suite itself says "
                f"{', '.join(own)}; leave it out there."
            )
        times = self.settings.pop(TIMES, MOST_TIMES)
        if type(times) is not int or times < 0:
            raise InputError(
                f"The suite's slurm settings are wrong: {TIMES}={times!r} must be a whole number."
            )
        self.folder.mkdir(parents=True, exist_ok=True)
        try:
            self._executor = submitit.AutoExecutor(self.folder, cluster=cluster, **{TIMES: times})
            self._executor.update_parameters(**self.settings)
        except RuntimeError as error:
            raise InputError(
                "--jobs slurm finds no srun here; run it on a machine of the cluster, or use "
                "--jobs local or print."
            ) from error
        except (ValueError, NameError, TypeError, AssertionError) as error:
            first = str(error).splitlines()[0]
            raise InputError(f"The suite's slurm settings are wrong: {first}.") from error

    def start(
        self, stage: Stage, command: Sequence[str], log: Path, number: str | None = None
    ) -> SlurmJob:
        """Submit a stage's command, or take up the job ``number`` where it is still under way."""
        if number is not None and (job := self._under_way(number)) is not None:
            return SlurmJob(job)
        nodes, per_node = _machines(stage)
        self._executor.update_parameters(
            **self.settings,
            name=stage.name.replace("/", "_"),
            nodes=nodes,
            tasks_per_node=per_node,
            **({"gpus_per_node": per_node} if stage.gpus else {}),
        )
        return SlurmJob(self._executor.submit(StageCall(command, log.resolve())))

    def cancel(self, number: str) -> None:
        """End the job of an earlier plan, which would go on writing into its stage's folder."""
        job = self._under_way(number)
        if job is not None and not job.done():
            job.cancel()

    def _under_way(self, number: str) -> Any:
        import submitit

        kind = submitit.SlurmJob if self.cluster == "slurm" else submitit.LocalJob
        job = kind(folder=self.folder, job_id=number)
        ended = job.done(force_check=True)
        # one that ended well while nobody looked is not run again
        return None if ended and SlurmJob(job).code() != 0 else job


def check_gone(number: str, folder: Path) -> None:
    """Raise InputError unless Slurm says that the job ``number``, which writes into a stage's
    ``folder``, has ended.
    """
    if under_way(number) is not False:
        raise InputError(
            f"Slurm's job {number} of an earlier run may still write into {folder}; go on with "
            f"--jobs slurm, which takes it up, or end it (scancel {number}) and run this again. "
            "Where no Slurm answers and the job is gone for good, write interrupted in place of "
            f"running in {folder / 'stage.json'}."
        )


def under_way(number: str) -> bool | None:
    """Whether Slurm's queue has a job that has not ended, None where no Slurm answers."""
    command = ["squeue", "--noheader", "--all", "--states=all", "--format=%A %T"]
    try:
        told = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    states = dict(line.split(maxsplit=1) for line in told.stdout.splitlines() if " " in line)
    return number in states and states[number].strip() not in ENDED
