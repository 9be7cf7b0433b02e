"""Stages as processes and as jobs: their places, their end, what Slurm is asked for."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest
import submitit
from machine import spec_in
from submitit.helpers import DelayedSubmission

from semaim_mm.errors import InputError
from semaim_mm.suite.local import LocalJobs, surroundings
from semaim_mm.suite.slurm import SlurmJobs
from semaim_mm.suite.stages import Stage, command_of, plan


def stage_in(folder: Path, **changes) -> Stage:
    stage = Stage("m/seed0/knn/test", "test", "m", "knn", 0, "configs/cls/knn_tiny.py", {}, folder)
    return stage._replace(**dict(checkpoint="a.pth") | changes)


def finish(job) -> int:
    for _ in range(1800):  # three minutes: the cores may have other work
        if (code := job.code()) is not None:
            return code
        time.sleep(0.1)
    raise TimeoutError


def test_a_process_gives_its_code_and_its_output_is_appended(tmp_path):
    jobs, log = LocalJobs(), tmp_path / "log"
    for code in (3, 0):
        command = [sys.executable, "-c", f"print('x'); exit({code})"]
        assert finish(jobs.start(stage_in(tmp_path), command, log)) == code
    assert log.read_text() == "x\nx\n"


def test_places_are_given_again_when_they_are_free(tmp_path):
    jobs = LocalJobs(2)
    sleep = [sys.executable, "-c", "import time; time.sleep(60)"]
    first, second = (jobs.start(stage_in(tmp_path), sleep, tmp_path / "log") for _ in range(2))
    assert (first.place, second.place) == (0, 1)
    first.stop()
    assert first.code() == -signal.SIGTERM
    third = jobs.start(stage_in(tmp_path), sleep, tmp_path / "log")
    assert third.place == 0
    for job in (second, third):
        job.stop()


def test_stages_side_by_side_share_cores_and_divide_gpus(monkeypatch):
    for name in ("OMP_NUM_THREADS", "CUDA_VISIBLE_DEVICES", "PORT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    assert "OMP_NUM_THREADS" not in surroundings(0, 1, 0)
    assert surroundings(1, 2, 0)["OMP_NUM_THREADS"] == "4"
    assert surroundings(1, 2, 4)["CUDA_VISIBLE_DEVICES"] == "4,5,6,7"
    assert surroundings(1, 2, 4)["PORT"] == "29501"
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,5")
    assert surroundings(1, 2, 1)["CUDA_VISIBLE_DEVICES"] == "5"
    with pytest.raises(InputError, match="need 3, but CUDA_VISIBLE_DEVICES=3,5 names 2"):
        surroundings(2, 3, 1)


def test_stages_side_by_side_have_ports_of_their_own_from_the_exported_one_on(monkeypatch):
    monkeypatch.setenv("PORT", "31000")
    assert [surroundings(place, 2, 1)["PORT"] for place in (0, 1)] == ["31000", "31001"]
    assert surroundings(0, 1, 1)["PORT"] == "31000"
    monkeypatch.setenv("PORT", "any")
    with pytest.raises(InputError, match="PORT=any is no whole number"):
        surroundings(1, 2, 0)


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_a_child_dies_with_the_runner(tmp_path, how):
    code = (
        "import sys, time; from pathlib import Path\n"
        "from test_jobs import stage_in, LocalJobs\n"
        "LocalJobs().start(stage_in(Path('.')), [sys.executable, '-c', 'import os, time;"
        "print(os.getpid(), flush=True); time.sleep(60)'], Path(sys.argv[1]))\n"
        "time.sleep(60)"
    )
    log = tmp_path / "log.txt"
    places = os.pathsep.join(sys.path)  # what tests share lies in several folders
    runner = subprocess.Popen(
        [sys.executable, "-c", code, str(log)], env=os.environ | dict(PYTHONPATH=places)
    )
    while not (log.is_file() and log.read_text().strip()):
        time.sleep(0.1)
        assert runner.poll() is None
    child = int(log.read_text())
    runner.send_signal(how)
    assert runner.wait(30) == -how
    for _ in range(100):
        try:
            os.kill(child, 0)
        except ProcessLookupError:
            return
        time.sleep(0.1)
    pytest.fail("the child outlived the suite")


SBATCH = """#!/bin/sh
echo "$@" >> {folder}/asked
[ "$1" = {folder}/script.sh ] || cp "$1" {folder}/script.sh
(SLURM_JOB_ID=17 SLURM_JOB_NODELIST=here SLURM_NTASKS=1 SLURM_PROCID=0 SLURM_LOCALID=0 \\
 SLURM_JOB_NUM_NODES=1 SLURM_NODEID=0 sh "$1"; touch {folder}/over) >{folder}/out 2>&1 &
echo "Submitted batch job 17"
"""
SRUN = """#!/bin/sh
while [ "$1" != "{python}" ]; do shift; done
exec "$@"
"""
SACCT = """#!/bin/sh
echo "JobID|State|NodeList"
if [ -e {folder}/over ]; then echo "17|COMPLETED|here"; else echo "17|RUNNING|here"; fi
"""


@pytest.fixture
def cluster(tmp_path, monkeypatch) -> Path:
    """Stand-ins for Slurm's commands, which run a job at once on this machine."""
    folder = tmp_path / "slurm"
    folder.mkdir()
    programs = dict(sbatch=SBATCH, srun=SRUN, sacct=SACCT, scancel="#!/bin/sh\n")
    for name, text in programs.items():
        path = folder / name
        path.write_text(text.format(folder=folder, python=sys.executable))
        path.chmod(path.stat().st_mode | stat.S_IEXEC)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr(submitit.SlurmJob, "_results_timeout_s", 1, raising=False)
    submitit.SlurmJob.watcher.clear()
    return folder


@pytest.mark.slow
def test_slurm_runs_a_stage_with_its_output_in_the_stages_log(tmp_path, cluster):
    log = tmp_path / "log.txt"
    command = [sys.executable, "-c", "print('ran'); exit(4)"]
    job = SlurmJobs(tmp_path / "suite", {}).start(stage_in(tmp_path), command, log)
    assert job.number == "17"
    assert finish(job) == 4
    assert log.read_text() == "ran\n"


def test_slurm_is_asked_for_the_suites_settings_and_a_task_a_gpu(tmp_path, cluster):
    (cluster / "sbatch").write_text(f"#!/bin/sh\ncp $1 {cluster}/asked\necho job 17\n")
    settings = dict(timeout_min=30, slurm_partition="gpu", cpus_per_task=5)
    stage = stage_in(tmp_path, gpus=16)
    SlurmJobs(tmp_path / "suite", settings).start(stage, ["true"], tmp_path / "log")
    asked = (cluster / "asked").read_text()
    for line in ("partition=gpu", "time=30", "nodes=2", "ntasks-per-node=8", "gpus-per-node=8"):
        assert f"#SBATCH --{line}\n" in asked
    assert "job-name=m_seed0_knn_test" in asked
    pixels = stage_in(tmp_path, gpus=16, checkpoint=None)
    SlurmJobs(tmp_path / "suite", settings).start(pixels, ["true"], tmp_path / "log")
    asked = (cluster / "asked").read_text()
    for line in ("nodes=1", "ntasks-per-node=1", "gpus-per-node=1"):
        assert f"#SBATCH --{line}\n" in asked


SAVES_SLOWLY = """
import os, pathlib, signal, sys, time
folder = pathlib.Path(sys.argv[1])
if (folder / "saved").exists():
    print("resumed", flush=True)
    sys.exit(0)
def save(*told):
    time.sleep(2)
    (folder / "saved").touch()
    print("saved", flush=True)
    sys.exit(75)
signal.signal(getattr(signal, sys.argv[2]), save)
(folder / "parent").write_text(str(os.getppid()))
time.sleep(120)
"""
SCONTROL = """#!/bin/sh
echo "$@" >> {folder}/requeued
rm -f {folder}/over
"""


def wait_for(path: Path) -> str:
    for _ in range(1800):
        if path.is_file() and (text := path.read_text()):
            return text
        time.sleep(0.1)
    raise TimeoutError(path)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["SIGUSR2", "SIGTERM"])
def test_a_job_that_is_told_to_stop_waits_until_its_training_has_saved_itself(
    tmp_path, cluster, name
):
    scontrol = cluster / "scontrol"
    scontrol.write_text(SCONTROL.format(folder=cluster))
    scontrol.chmod(0o755)
    log = tmp_path / "log.txt"
    command = [sys.executable, "-c", SAVES_SLOWLY, str(tmp_path), name]
    job = SlurmJobs(tmp_path / "suite", {}).start(stage_in(tmp_path), command, log)
    # the training itself is not told, as by a Slurm that signals a job's own processes alone
    os.kill(int(wait_for(tmp_path / "parent")), getattr(signal, name))
    wait_for_end(cluster)
    assert log.read_text() == "saved\n"
    assert not list((tmp_path / "suite").rglob("*_result.pkl")), "a stop is no result"
    if name == "SIGUSR2":  # at the time limit; Slurm itself queues a preempted job again
        assert (cluster / "requeued").read_text() == "requeue 17\n"
    subprocess.run([cluster / "sbatch", cluster / "script.sh"], check=True)
    assert finish(job) == 0 and log.read_text() == "saved\nresumed\n"


def wait_for_end(cluster: Path) -> None:
    for _ in range(1800):
        if (cluster / "over").exists():
            (cluster / "over").unlink()
            return
        time.sleep(0.1)
    raise TimeoutError


def test_a_job_gets_time_to_save_and_is_queued_again_as_often_as_asked(tmp_path, cluster):
    (cluster / "sbatch").write_text(f"#!/bin/sh\ncp $1 {cluster}/asked\necho job 17\n")
    for settings, delay, times in (
        ({}, 180, 20),
        (dict(slurm_signal_delay_s=600, slurm_max_num_timeout=50), 600, 50),
    ):
        suite = tmp_path / f"suite{times}"
        SlurmJobs(suite, settings).start(stage_in(tmp_path), ["true"], tmp_path / "log")
        assert f"#SBATCH --signal=USR2@{delay}\n" in (cluster / "asked").read_text()
        (pickled,) = suite.rglob("*_submitted.pkl")
        assert DelayedSubmission.load(pickled)._timeout_countdown == times
    with pytest.raises(InputError, match="slurm_max_num_timeout='often' must be a whole number"):
        SlurmJobs(tmp_path / "suite", dict(slurm_max_num_timeout="often"))


@pytest.mark.slow
def test_a_job_still_under_way_is_taken_up_and_one_that_is_gone_is_not(tmp_path, cluster):
    log = tmp_path / "log.txt"
    slow = [sys.executable, "-c", "import time; print('once', flush=True); time.sleep(3)"]
    first = SlurmJobs(tmp_path / "suite", {}).start(stage_in(tmp_path), slow, log)
    again = SlurmJobs(tmp_path / "suite", {}).start(stage_in(tmp_path), slow, log, first.number)
    assert len((cluster / "asked").read_text().splitlines()) == 1
    assert finish(again) == 0 and log.read_text() == "once\n"
    # one that ended well while nobody looked is not run again; one that failed is
    late = SlurmJobs(tmp_path / "suite", {}).start(stage_in(tmp_path), slow, log, again.number)
    assert finish(late) == 0 and log.read_text() == "once\n"
    assert len((cluster / "asked").read_text().splitlines()) == 1


def test_a_share_of_gpus_that_no_machine_has_is_refused(tmp_path, cluster):
    jobs = SlurmJobs(tmp_path / "suite", {})
    with pytest.raises(InputError, match="gpus=9 are no whole number on each of 2 machines"):
        jobs.start(stage_in(tmp_path, gpus=9), ["true"], tmp_path / "log")


def test_a_job_that_slurm_ended_failed(tmp_path, cluster):
    (cluster / "sbatch").write_text("#!/bin/sh\necho Submitted batch job 17\n")
    job = SlurmJobs(tmp_path / "suite", {}).start(stage_in(tmp_path), ["true"], tmp_path / "log")
    (cluster / "over").touch()
    assert finish(job) == 1


def test_without_slurm_a_sentence_says_so(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(InputError, match="finds no srun here"):
        SlurmJobs(tmp_path, {})


def test_an_unknown_setting_and_one_of_another_kind_are_named(tmp_path, cluster):
    with pytest.raises(InputError, match=r"slurm settings are wrong: .*partitions"):
        SlurmJobs(tmp_path, dict(slurm_partitions="gpu"))
    with pytest.raises(InputError, match="slurm settings are wrong: .*timeout_min"):
        SlurmJobs(tmp_path, dict(timeout_min="an hour"))


@pytest.mark.parametrize(
    ("kind", "tool", "checkpoint"),
    [("pretrain", "train", None), ("train", "train", "a.pth"), ("test", "test", "a.pth")],
)
def test_several_gpus_are_started_by_torchrun_here_and_by_the_jobs_tasks_there(
    tmp_path, kind, tool, checkpoint
):
    stage = stage_in(tmp_path, gpus=8, kind=kind, checkpoint=checkpoint)
    here = command_of(stage, checkpoint)
    given = [checkpoint] if kind == "test" else []
    assert here[0].endswith(f"tools/dist_{tool}.sh")
    assert here[1 : 3 + len(given)] == [stage.config, *given, "8"]
    there = command_of(stage, checkpoint, "slurm")
    assert there[0] == sys.executable and there[1].endswith(f"tools/{tool}.py")
    assert there[there.index("--launcher") + 1] == "slurm"
    assert "--launcher" not in command_of(stage._replace(gpus=1), checkpoint, "slurm")


def test_all_stages_with_weights_share_the_gpus_and_raw_pixels_take_one(tmp_path):
    stages = plan(spec_in(tmp_path)._replace(gpus=8))
    pixels = [stage for stage in stages if stage.method == "pixels"]
    assert {stage.processes for stage in pixels} == {1} and pixels
    assert {stage.processes for stage in stages if stage.method != "pixels"} == {8}
    for launcher in ("torchrun", "slurm"):
        command = command_of(pixels[0], None, launcher)
        assert command[0] == sys.executable and command[1].endswith("tools/test.py")
        assert "--launcher" not in command
