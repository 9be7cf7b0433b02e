"""The chain's runner killed at random moments ends with an undisturbed run's results: row 22."""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import sys
import time
from pathlib import Path

import pytest
import shipped_leaves as shipped
from conftest import write_images

from semaim_mm.interop.checkpoint_file import read_file, sha256_of
from semaim_mm.report.result import read_result
from semaim_mm.suite.run import run_suite
from semaim_mm.suite.spec import Spec, read_spec
from semaim_mm.suite.stages import output_of, plan
from semaim_mm.suite.state import read_state

ROOT = Path(__file__).resolve().parents[2]
KILLS = 20
LIMIT = 900  # seconds for the whole lineage on a busy machine


def write_leaf(path: Path, parent: str, options: dict) -> None:
    """A leaf that inherits a shipped one and says the options in nested dicts."""
    nested: dict = {}
    for key, value in options.items():
        *way, last = key.split(".")
        place = nested
        for name in way:
            place = place.setdefault(name, {})
        place[last] = value
    lines = [f"{key} = {value!r}" for key, value in nested.items()]
    path.write_text("\n".join([f'_base_ = "{ROOT / parent}"', *lines]) + "\n")


@pytest.fixture(scope="module")
def suite(tmp_path_factory):
    """-> writes the spec of two pretrainings by two tasks whose results go to a folder."""
    root = tmp_path_factory.mktemp("chain")
    for part, seed in (("pretrain", 0), ("pretrain_val", 1)):
        write_images(root / part, 12, size=64, seed=seed)
    finetuning = shipped.finetuning(root)
    pretraining = {k: v for k, v in shipped.pretraining(root).items() if "scheduler" not in k}
    kept = {"train_cfg.max_epochs": 2, "default_hooks.checkpoint.interval": 1}
    write_leaf(root / "semantic.py", shipped.PRETRAIN, pretraining | kept)
    order = {"model.order": dict(_delete_=True, type="RasterOrder")}
    write_leaf(root / "raster.py", shipped.PRETRAIN, pretraining | kept | order)
    del finetuning["model.backbone.init_cfg"]  # the suite says what to start from
    write_leaf(root / "finetune.py", shipped.FINETUNE, finetuning | kept)
    small = {k: v for k, v in shipped.SMALL.items() if k.startswith("model.")}
    knn = {
        "data_root": str(root),
        "num_classes": 3,
        "test_evaluator.ks": [1, 3],
        "test_evaluator.headline_k": 3,
    }
    write_leaf(root / "knn.py", "configs/cls/knn_tiny.py", small | knn)

    def spec(name: str) -> Spec:
        methods = {m: dict(config=str(root / f"{m}.py")) for m in ("semantic", "raster")}
        tasks = {task: str(root / f"{task}.py") for task in ("knn", "finetune")}
        text = f"methods = {methods}\ntasks = {tasks}\nname = {name!r}\nout = '{root}/runs'\n"
        (root / f"suite_{name}.py").write_text(text)
        return read_spec(str(root / f"suite_{name}.py"))

    return spec


def run(spec: Spec) -> None:
    """In a fork: run a suite, what it says in runner.txt; exit 0 where every stage is done."""
    with (spec.out / f"{spec.name}.txt").open("ab", buffering=0) as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    sys.stdout = os.fdopen(1, "w", buffering=1, closefd=False)
    outcomes = run_suite(spec, plan(spec))
    os._exit(0 if all(o.status in ("complete", "finished before") for o in outcomes) else 1)


def started(spec: Spec) -> multiprocessing.Process:
    spec.out.mkdir(exist_ok=True)
    process = multiprocessing.get_context("fork").Process(target=run, args=(spec,))
    process.start()
    return process


def complete(spec: Spec) -> dict[str, tuple[int, str]]:
    """Stages whose record says complete -> when it was written, and their output's hash."""
    found = {}
    for stage in plan(spec):
        record = read_state(stage)
        if record and record["status"] == "complete":
            written = (stage.folder / "stage.json").stat().st_mtime_ns
            found[stage.name] = (written, record["output_sha256"])
    return found


def outcome(stage) -> object:
    """What must not depend on kills: a test's scores and answers, a training's weights."""
    output = output_of(stage)
    if stage.kind == "test":
        result = read_result(output)
        return json.dumps(result["metrics"]), sha256_of(output.parent / result["outcomes"])
    state = read_file(output)["state_dict"]
    return {key: value.numpy().tobytes() for key, value in state.items()}


@pytest.mark.slow
def test_killed_at_random_moments_it_ends_with_the_same_results(suite):
    calm, killed = suite("calm"), suite("killed")
    process, begun = started(calm), time.monotonic()
    process.join(LIMIT)
    assert process.exitcode == 0, (calm.out / "calm.txt").read_text()[-3000:]
    # a runner lives up to twice as long as a stage takes on this machine
    longest = 2 * (time.monotonic() - begun) / len(plan(calm))
    moments, done, until = random.Random(22), {}, time.monotonic() + LIMIT
    for _ in range(KILLS):
        process = started(killed)
        process.join(moments.uniform(0.0, longest))
        ended = not process.is_alive()
        process.kill()
        process.join()
        now = complete(killed)
        assert done.items() <= now.items(), "a complete stage was done again"
        assert time.monotonic() < until, "the lineage takes too long"
        done = now
        if ended:
            assert process.exitcode == 0, (killed.out / "killed.txt").read_text()[-3000:]
            break
    process = started(killed)
    process.join(LIMIT)
    assert process.exitcode == 0, (killed.out / "killed.txt").read_text()[-3000:]
    end = complete(killed)
    assert done.items() <= end.items(), "a complete stage was done again"
    assert set(end) == {stage.name for stage in plan(killed)}, "a stage was skipped"
    for stage, other in zip(plan(calm), plan(killed), strict=True):
        assert outcome(stage) == outcome(other), stage.name
