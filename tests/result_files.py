"""Result files as evaluations write them, for the leaderboard's tests."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from semaim_mm.report.result import sha256_text, write_result

MANIFEST = "a" * 64


def weights(name: str, seed: int | None = None, started_from: dict | None = None) -> dict:
    """A checkpoint's record; the name alone decides its SHA-256."""
    origin = None if seed is None else dict(seed=seed, epoch=5, budget=dict(epochs=5, images=40))
    return dict(
        file=f"{name}.pth",
        sha256=sha256_text(name.encode("ascii", "backslashreplace").decode()),
        origin=origin,
        coverage=dict(matched=52, new=["a"], unused=[], changed=[]),
        started_from=started_from,
    )


def write(
    root: Path,
    method: str = "ours",
    seed: int = 0,
    score: float = 50.0,
    outcomes: dict | None = None,
    **changes,
) -> Path:
    """A k-NN result of pretraining seed ``seed`` below ``root/method/seed``; -> its path."""
    folder = root / changes.pop("folder", f"{method}/seed{seed}")
    n = 4 if outcomes is None else len(next(iter(outcomes.values())))
    metrics = changes.pop("metrics", dict(top1=score))
    result = dict(
        status="complete",
        method=method,
        arch="ViT-base/16",
        task="knn",
        metrics={name: dict(value=value, unit="percent") for name, value in metrics.items()},
        n_evaluated=n,
        n_dataset=n,
        protocol=dict(task="knn", evaluator=dict(type="KNN"), training=None),
        selection="last epoch",
        seed=seed,
        config_hash="0" * 64,
        git=dict(commit="c" * 40, dirty=False),
        checkpoint=weights(f"{method} {seed}", seed),
        data=dict(name="toy", manifest_sha256=MANIFEST),
        versions=dict(torch="2.11.0"),
        hardware=dict(device="cpu", world_size=1),
        run={},
        start=f"2026-01-01T00:00:{seed:02}+00:00",
        end="2026-01-01T00:01:00+00:00",
    )
    return write_result(folder, {**result, **changes}, outcomes)


def write_two_sets(root: Path, *methods: str, seeds: int = 2) -> None:
    """k-NN of every method pretrained on two data sets, with nothing else to tell them apart."""
    for number, name in enumerate(("imagenet", "places")):
        for seed in range(seeds):
            for method in methods:
                start = weights(f"{method} {name} {seed}", seed)
                start["origin"]["data"] = dict(name=name, manifest_sha256=str(number) * 64)
                score = 50.0 + number + seed**2 * (method == methods[0])
                folder = f"{name}/{method}{seed}"
                write(root, method, seed, score, checkpoint=start, folder=folder)


def write_right(root: Path, correct: np.ndarray, **changes) -> Path:
    """The same with ``correct`` (N,) beside it and the top1 that it gives."""
    score = 100 * float(np.mean(correct))
    return write(root, score=score, outcomes=dict(correct=np.asarray(correct)), **changes)


def finetuned(method: str, pretraining: int | None, fitting: int, **changes) -> dict:
    """Changes that make ``write``'s result one of a finetuning from a pretrained checkpoint."""
    start = None if pretraining is None else weights(f"{method} {pretraining}", pretraining)
    return dict(
        method=method,
        seed=fitting,
        folder=f"{method}/seed{pretraining}/finetune{fitting}",
        task="finetune",
        protocol=dict(task="finetune", evaluator=dict(type="SampleAccuracy"), training=dict(lr=1)),
        checkpoint=weights(f"{method} {pretraining} tuned {fitting}", fitting, start),
        **changes,
    )
