"""A small suite's folder of results, and names that mean harm, for the tests of what is written."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from PIL import Image
from result_files import finetuned, weights, write, write_right

HOSTILE = (
    "<script>alert(1)</script>",
    "</script><script>alert(1)</script><!--",
    "<img src=x onerror=alert(1)>",
    "javascript:alert(1)",
    "[link](javascript:alert(1)) ![i](x)",
    "a|b `code` *bold* _it_ ~~gone~~",
    "=cmd|' /C calc'!A0",
    "+1+1",
    "-2+3",
    "@SUM(1)",
    "two\nlines\r\nand a\ttab",
    "http://evil.example www.evil.example me@evil.example",
    "\\input{/etc/passwd} $x$ %& #~^ \\",
    "*starred",
    "[bracketed]",
    "-- ,, << ?` !`",
    "%{x} <b>bold</b> <a href='javascript:alert(1)'>a</a>",
    "{{ 7 * 7 }} {% raw %}",
    "\u202egnp.exe \x00\x1b[31m\u2028",
    "half a surrogate \ud800",
    "名前 é ñ Ł ß ĳ 🦄 ±",
    '" onmouseover="alert(1)',
    "x" * 3000,
)


def write_suite(root: Path, methods: tuple[str, ...] = ("ours", "theirs", "none"), seeds: int = 3):
    """Results of k-NN and finetuning of every method, curves, an order map and ``suite.json``.

    'none' has no pretraining; the last method's finetuning with seed 1 failed, with seed 2 it was
    not run.
    """
    random, stages = np.random.default_rng(0), []
    for number, method in enumerate(methods):
        for seed in range(seeds):
            name = f"m{number}/seed{seed}"
            start = None
            if method != "none":
                start = weights(f"{number} {seed}", seed)
                start["origin"]["budget"] |= dict(flops=(1 + number) * 1e12, device_hours=0.5)
                stages.append(_stage(f"{name}/pretrain", method, "pretrain", seed, "pretrain"))
                write_curve(root / name / "pretrain", 1.0 + number)
            for task in ("nearest", "finetune"):
                stage = _stage(f"{name}/{task}/test", method, task, seed, "test")
                stages.append(stage)
                if task == "finetune" and method == methods[-1] and seed:
                    stage["status"] = "failed" if seed == 1 else "waits"
                    stage["log"] = f"{name}/finetune/test/log.txt"
                    continue
                correct = random.random(60) < 0.7 - 0.1 * number
                top1 = 100 * float(correct.mean())
                metrics = {"top1": top1, "layer3/top1_k10": 12.5}
                changes = dict(checkpoint=start, metrics=metrics)
                if task == "finetune":
                    changes = finetuned(method, seed, seed)
                    changes["checkpoint"]["started_from"] = start
                command = f"python tools/test.py leaf.py --method {number}"
                changes |= dict(method=method, folder=stage["stage"], run=dict(command=command))
                changes["seed"] = seed
                write_right(root, correct, **changes)
    write(root, "broken", status="failed")
    (root / "orders").mkdir()
    Image.new("RGB", (40, 20), "red").save(root / "orders" / "000007.png")
    suite = dict(
        suite="tiny",
        methods=list(methods),
        tasks=["nearest", "finetune"],
        seeds=list(range(seeds)),
        comparisons=[list(methods[:2])],
        truth={},
        stages=stages,
    )
    (root / "suite.json").write_text(json.dumps(suite))
    return root


NOTE = "a few updates: this task ranks nothing & <b>shows</b> the chain"


def write_noted(root: Path) -> Path:
    """``write_suite`` with NOTE on k-NN's task and a trial of a sweep of finetuning."""
    suite = json.loads((write_suite(root) / "suite.json").read_text())
    suite["notes"] = {"nearest": NOTE}
    trial = "m0/seed0/finetune/trial1/test"
    suite["stages"].append(
        _stage(trial, "ours", "finetune", 0, "test") | dict(trial=1, settings={"base_lr": 0.25})
    )
    changes = finetuned("ours", 0, 0) | dict(folder=trial)
    changes["protocol"] = {**changes["protocol"], "test_data": {"part": "held out"}}
    write_right(root, np.arange(60) > 20, **changes)
    (root / "suite.json").write_text(json.dumps(suite))
    return root


def write_hostile(root: Path) -> Path:
    """A k-NN result of every name in HOSTILE, which is also in whatever else is free text."""
    for number, name in enumerate(HOSTILE):
        write_right(
            root,
            np.arange(40) > number,
            method=name,
            folder=f"h{number}",
            arch=name,
            checkpoint={**weights(f"{number}", 0), "file": name},
            selection=name,
            data=dict(name=HOSTILE[0], manifest_sha256="d" * 64),
            protocol=dict(task="knn", evaluator=dict(type="KNN"), note=HOSTILE[1]),
            task=HOSTILE[1],
            hardware=dict(device=name, world_size=1),
            versions={name: name},
            run=dict(command=f"python {name}", chosen={name: name}),
        )
    return root


def write_curve(folder: Path, height: float, stamp: str = "20260101_000000", first: int = 1):
    """A run's losses as mmengine leaves them, 1 ... 40 updates from ``first`` on."""
    place = folder / stamp / "vis_data"
    place.mkdir(parents=True)
    lines = [
        json.dumps(dict(loss=height / step, lr=0.1, step=step)) for step in range(first, first + 40)
    ]
    (place / "scalars.json").write_text("\n".join([*lines, '{"loss": 0.1, "st']))


def _stage(name: str, method: str, task: str, seed: int, kind: str) -> dict:
    return dict(
        stage=name, method=method, task=task, seed=seed, kind=kind, status="complete", log=None
    )


def write_knn_and_coco(root: Path, methods: int = 5, seeds: int = 3, noise: float = 0.0) -> None:
    """Results of k-NN and detection that rank m0, m1, ... alike, but for noise."""
    random = np.random.default_rng(0)
    for number in range(methods):
        for seed in range(seeds):
            luck = noise * random.normal()
            where = f"m{number}/seed{seed}"
            write(root, f"m{number}", seed, 10.0 * number + luck, folder=f"{where}/knn")
            write(
                root, f"m{number}", seed, folder=f"{where}/coco", task="coco",
                metrics=dict(bbox_mAP=5.0 * number + luck),
                protocol=dict(task="coco", evaluator=dict(type="SampleCoco"), training=None),
            )  # fmt: skip
