"""What the leaderboard costs: its page against the number of results, and the bootstrap."""

import io
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import numpy as np
from rich.console import Console

from semaim_mm.bench.report import Table
from semaim_mm.bench.timing import Spread, interleave, paired_ratio
from semaim_mm.leaderboard.intervals import RESAMPLES, over_images
from semaim_mm.leaderboard.outcome_metrics import Accuracy
from semaim_mm.leaderboard.write.board import write_leaderboard
from semaim_mm.report.result import sha256_text, write_result

COLUMNS = ("what", "device", "seconds", "time of this / the first")


class Sizes(NamedTuple):
    """Most results on a page, and test images of each."""

    results: int
    images: int


DEFAULT_SIZES = Sizes(64, 50_000)


def write_results(root: Path, count: int, images: int) -> None:
    """``count`` k-NN results, three seeds a method, with random outcomes of ``images`` images."""
    random = np.random.default_rng(0)
    for number in range(count):
        method, seed = f"method {number // 3}", number % 3
        correct = random.random(images) < 0.5
        record = dict(
            file=f"{method} {seed}.pth",
            sha256=sha256_text(f"{method} {seed}"),
            origin=dict(seed=seed, epoch=5, budget=dict(epochs=5, images=40)),
            coverage=dict(matched=52, new=[], unused=[], changed=[]),
            started_from=None,
        )
        result = dict(
            status="complete",
            method=method,
            arch="ViT-base/16",
            task="knn",
            metrics=dict(top1=dict(value=100 * float(correct.mean()), unit="percent")),
            n_evaluated=images,
            n_dataset=images,
            protocol=dict(task="knn", evaluator=dict(type="KNN"), training=None),
            selection="last epoch",
            seed=seed,
            config_hash="0" * 64,
            git=dict(commit="0" * 40, dirty=False),
            checkpoint=record,
            data=dict(name="random", manifest_sha256="0" * 64),
            versions={},
            hardware=dict(device="cpu", world_size=1),
            run={},
            start=f"2026-01-01T00:00:{number % 60:02}+00:00",
            end="2026-01-01T00:01:00+00:00",
        )
        write_result(root / str(number), result, dict(correct=correct))


def measure(sizes: Sizes, rounds: int) -> list[Table]:
    """-> the table of pages of growing numbers of results, and that of bootstraps."""
    counts = sorted({max(3, sizes.results // 16), max(3, sizes.results // 4), sizes.results})
    with TemporaryDirectory() as folder:
        pages = {}
        for count in counts:
            root = Path(folder, str(count))
            write_results(root, count, sizes.images)
            silent = Console(file=io.StringIO(), width=180)
            pages[f"leaderboard of {count} results"] = lambda root=root, silent=silent: (
                write_leaderboard(root, root / "board", silent, None)
            )
        page_times = interleave(pages, rounds)
    correct = np.random.default_rng(0).random(sizes.images) < 0.5
    boots = {
        f"{resamples:,} resamples of {sizes.images:,} images": lambda n=resamples: over_images(
            Accuracy(correct), n
        )
        for resamples in (RESAMPLES // 10, RESAMPLES)
    }
    boot_times = interleave(boots, rounds)
    notes = [
        f"Random outcomes of {sizes.images:,} images a result, three seeds a method; every file "
        "that tools/leaderboard.py writes, intervals and comparisons included.",
    ]
    return [
        Table("Writing the leaderboard", COLUMNS, rows_of(page_times), notes),
        Table("Interval over test images", COLUMNS, rows_of(boot_times)),
    ]


def rows_of(times: dict[str, list[float]]) -> list[tuple]:
    """Times by arm -> rows, each beside the first."""
    first = next(iter(times.values()))
    return [
        (name, "cpu", Spread.of(taken), paired_ratio(taken, first)) for name, taken in times.items()
    ]
